"""Signs of damage in JPEG streams, without decoding them.

JPEG carries no checksum. Zeroed or cut tiles, blocks of foreign bytes and ends that lie elsewhere
betray themselves: inside compressed pixels each 0xFF is followed by 0 or a restart marker, the one
exception is the end of image, and long runs of zeros do not occur in pictures of tissue. What
shows no such sign may still be damaged; only decoding tells.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

_WORD = 8
_STRIDE = 63
"""One word in so many is looked at for zeros: 511 in a row are always found, so that a sector of a
disk is. Of one across two tiles each has less: the one lacks its end then, the other its header."""
_BLOCK = 1 << 20
"""Bytes looked at together: memory does not grow with the streams."""

Places = NDArray[np.int64]


def doubtful(
    streams: bytes | NDArray[np.uint8], scans: Places, ends: Places, *, markers: int
) -> NDArray[np.bool_]:
    """Say which of some JPEG streams, one after the other, show a sign of damage.

    Args:
        streams: Their bytes.
        scans: Where the compressed pixels of each begin.
        ends: Where each ends.
        markers: How many there are before the compressed pixels, of all streams together.
    """
    data = np.frombuffer(streams, np.uint8)
    if len(data) < _WORD:
        return np.ones(len(ends), np.bool_)
    last = np.maximum(ends, 2)
    is_doubted = (data[last - 2] != 0xFF) | (data[last - 1] != 0xD9)
    words = data[: len(data) // _WORD * _WORD].view(np.uint64)[::_STRIDE]
    zeros = _STRIDE * _WORD * np.flatnonzero(words == 0)
    is_doubted |= np.searchsorted(zeros, ends - _WORD + 1) > np.searchsorted(zeros, scans)
    # Where every stream ends as it should and there is no marker more, none is where none may be.
    if is_doubted.any() or _count(data) != markers + len(ends):
        places = np.concatenate([at + np.flatnonzero(is_one) for at, is_one in _seconds(data)])
        odd = places[(data[places] < 0xD0) | (data[places] > 0xD7)]
        is_doubted |= np.searchsorted(odd, ends) - np.searchsorted(odd, scans) != 1
    return is_doubted


@cache
def markers_in(head: bytes) -> int:
    """Return how many markers there are in what lies before a stream's compressed pixels."""
    return _count(np.frombuffer(head, np.uint8))


def _count(data: NDArray[np.uint8]) -> int:
    return sum(int(np.count_nonzero(is_one)) for _, is_one in _seconds(data))


def _seconds(data: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield by blocks where they begin and which of their bytes are the second ones of markers.

    A second byte is one that is not 0, behind 0xFF. What is yielded is overwritten by the next.
    """
    room = np.empty(min(_BLOCK, len(data)), np.uint8)
    for first in range(1, len(data), _BLOCK):
        before, block = data[first - 1 : first - 1 + _BLOCK], data[first : first + _BLOCK]
        is_second = room[: len(block)]
        np.equal(before[: len(block)], 0xFF, out=is_second.view(np.bool_))
        np.minimum(is_second, block, out=is_second)  # 1 where the byte is not 0, behind 0xFF
        yield first, is_second.view(np.bool_)
