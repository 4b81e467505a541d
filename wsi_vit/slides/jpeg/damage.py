"""Signs of damage in JPEG streams, without decoding them.

JPEG carries no checksum. Zeroed or cut tiles, blocks of foreign bytes and ends that lie elsewhere
betray themselves: inside compressed pixels each 0xFF is followed by 0 or a restart marker, the one
exception is the end of image, and long runs of zeros do not occur in pictures of tissue. What
shows no such sign may still be damaged; only decoding tells.
"""

import numpy as np
from numpy.typing import NDArray

_WORD = 8


def doubtful(
    streams: bytes, scans: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say which of some JPEG streams, one after the other, show a sign of damage.

    Args:
        streams: Their bytes.
        scans: Where the compressed pixels of each begin.
        ends: Where each ends.
    """
    data = np.frombuffer(streams, np.uint8)
    if len(data) < _WORD:
        return np.ones(len(ends), np.bool_)
    after = np.flatnonzero(data[:-1] == 0xFF) + 1
    follow = data[after]
    odd = after[(follow != 0) & ((follow < 0xD0) | (follow > 0xD7))]
    count = np.searchsorted(odd, ends) - np.searchsorted(odd, scans)
    last = np.maximum(ends, 2)
    is_ended = (data[last - 2] == 0xFF) & (data[last - 1] == 0xD9)
    return ~is_ended | (count != 1) | _holds_zeros(data, scans, ends)


def _holds_zeros(
    data: NDArray[np.uint8], scans: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say which hold eight zeros in a row, as far as they lie on a word: fifteen always do."""
    whole = len(data) // _WORD * _WORD
    words = np.flatnonzero(data[:whole].view(np.uint64) == 0) * _WORD
    return np.searchsorted(words, ends - _WORD + 1) > np.searchsorted(words, scans)
