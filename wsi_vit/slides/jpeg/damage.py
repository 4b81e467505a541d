"""Signs of damage in JPEG streams, without decoding them.

JPEG carries no checksum. Zeroed or cut tiles, blocks of foreign bytes and ends that lie elsewhere
betray themselves: inside compressed pixels each 0xFF is followed by 0 or a restart marker, the one
exception is the end of image, and long runs of zeros do not occur in pictures of tissue. What
shows no such sign may still be damaged; only decoding tells.
"""

import numpy as np
from numpy.typing import NDArray

_WORD = 8
_STRIDE = 4
"""One word in so many is looked at for zeros: 39 in a row are always found."""
_BLOCK = 1 << 20
"""Bytes looked at together: memory does not grow with the streams."""

Places = NDArray[np.int64]


def doubtful(streams: bytes | NDArray[np.uint8], scans: Places, ends: Places) -> NDArray[np.bool_]:
    """Say which of some JPEG streams, one after the other, show a sign of damage.

    Args:
        streams: Their bytes.
        scans: Where the compressed pixels of each begin.
        ends: Where each ends.
    """
    data = np.frombuffer(streams, np.uint8)
    if len(data) < _WORD:
        return np.ones(len(ends), np.bool_)
    markers, zeros = _signs(data)
    odd = markers[(data[markers] < 0xD0) | (data[markers] > 0xD7)]
    count = np.searchsorted(odd, ends) - np.searchsorted(odd, scans)
    last = np.maximum(ends, 2)
    is_ended = (data[last - 2] == 0xFF) & (data[last - 1] == 0xD9)
    holds_zeros = np.searchsorted(zeros, ends - _WORD + 1) > np.searchsorted(zeros, scans)
    return ~is_ended | (count != 1) | holds_zeros


def _signs(data: NDArray[np.uint8]) -> tuple[Places, Places]:
    """Return where the second bytes of markers lie, and where words of eight zeros do.

    A second byte is one that is not 0, behind 0xFF.
    """
    seconds, zeros = list[Places](), list[Places]()
    room = np.empty(_BLOCK, np.uint8)
    for first in range(0, len(data), _BLOCK):
        block, after = data[first : first + _BLOCK], data[first + 1 : first + 1 + _BLOCK]
        is_second, beyond = room[: len(after)], room[len(after) :]
        np.equal(block[: len(after)], 0xFF, out=is_second.view(np.bool_))
        np.minimum(is_second, after, out=is_second)  # 1 where the byte is 0xFF and the next not 0
        beyond[:] = 0
        seconds.append(first + 1 + _ones(room))
        words = block[: len(block) // _WORD * _WORD].view(np.uint64)[::_STRIDE]
        zeros.append(first + _WORD * _STRIDE * np.flatnonzero(words == 0))
    return np.concatenate(seconds), np.concatenate(zeros)


def _ones(data: NDArray[np.uint8]) -> Places:
    """Return where the few ones among zeros are: by words first, which is an eighth of the looks.

    Args:
        data: Zeros and ones, whole words.
    """
    words = data.view(np.uint64)
    kept = np.flatnonzero(words != 0)
    ones = np.flatnonzero(words[kept].view(np.bool_))
    return kept[ones // _WORD] * _WORD + ones % _WORD
