"""Exact resampling: each output pixel is the mean of the area it covers, in floating point.

A downsample of 3.97 is not 4: the first and last source pixel under an output pixel count by the
share that lies below it, so that a feature comes out where it was, at any factor.
"""

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

_BAND_ROWS = 64
"""Output rows worked on at once: their floats stay in the cache, and in memory that is there."""
_PIXEL = np.dtype(np.complex128)
"""Four floats of four bytes, so that a pixel is turned as one item."""


def resample(
    image: NDArray[np.uint8],
    *,
    start: tuple[float, float],
    step: tuple[float, float],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Resample an image to another grid.

    Args:
        image: Shape (height, width, 4).
        start: Where the output's top left corner lies, (x, y) in source pixels.
        step: Size of an output pixel in source pixels, (x, y).
        size: Output (width, height) in pixels.

    Returns:
        Shape (height, width, 4), uint8, rounded to nearest. Shrinking takes area means;
        enlarging interpolates linearly. Outside the image its edge is repeated.
    """
    if _is_copy(start, step, size, image.shape):
        left, top = int(start[0]), int(start[1])
        return image[top : top + size[1], left : left + size[0]]
    out = np.empty((size[1], size[0], 4), np.uint8)
    for first in range(0, size[1], _BAND_ROWS):
        count = min(_BAND_ROWS, size[1] - first)
        top = start[1] + step[1] * first
        above = max(0, min(math.floor(top) - 1, len(image) - 1))
        below = math.ceil(top + step[1] * count) + 1
        band = image[above : max(below, above + 1)]
        out[first : first + count] = _resampled(
            band, start=(start[0], top - above), step=step, size=(size[0], count)
        )
    return out


def _resampled(
    image: NDArray[np.uint8],
    *,
    start: tuple[float, float],
    step: tuple[float, float],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    height, width, _ = image.shape
    down = _weights(height, start[1], step[1], size[1])
    across = _weights(width, start[0], step[0], size[0])
    tall = down @ np.ascontiguousarray(image).reshape(height, width * 4).astype(np.float32)
    turned = np.ascontiguousarray(tall.view(_PIXEL).T).view(np.float32)
    both = across @ turned
    both += 0.5
    exact = both.astype(np.uint8).view(np.uint32)
    return exact.T.copy().view(np.uint8).reshape(size[1], size[0], 4)


def _is_copy(
    start: tuple[float, float],
    step: tuple[float, float],
    size: tuple[int, int],
    shape: tuple[int, ...],
) -> bool:
    """Say whether the output is a piece of the input, pixel for pixel."""
    return all(
        step[axis] == 1
        and start[axis] % 1 == 0
        and start[axis] >= 0
        and start[axis] + size[axis] <= shape[1 - axis]
        for axis in (0, 1)
    )


@lru_cache(maxsize=1024)
def _weights(source: int, start: float, step: float, count: int) -> "sparse.csr_array":
    """Return the (count, source) matrix that resamples one axis; each row sums to 1."""
    # Slides whose tiles are copied never resample, and should not wait for this import.
    from scipy import sparse

    rows, columns, shares = _areas(start, step, count) if step >= 1 else _lines(start, step, count)
    columns = np.clip(columns, 0, source - 1)
    matrix = sparse.csr_array((shares, (rows, columns)), shape=(count, source), dtype=np.float32)
    matrix.sum_duplicates()
    return matrix


Entries = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _areas(start: float, step: float, count: int) -> Entries:
    """Return (row, column, share) of every source pixel that an output pixel covers."""
    left = start + step * np.arange(count)
    span = np.arange(math.ceil(step) + 1)
    columns = np.floor(left).astype(np.int64)[:, None] + span
    right = (left + step)[:, None]
    covered = np.minimum(columns + 1, right) - np.maximum(columns, left[:, None])
    shares = np.clip(covered, 0, None) / step
    rows = np.broadcast_to(np.arange(count)[:, None], columns.shape)
    return rows.ravel(), columns.ravel(), shares.ravel()


def _lines(start: float, step: float, count: int) -> Entries:
    """Return (row, column, share) of linear interpolation between pixel centres."""
    centre = start + step * (np.arange(count) + 0.5) - 0.5
    left = np.floor(centre).astype(np.int64)
    part = np.asarray(centre - left, np.float64)
    rows = np.arange(count)
    return (
        np.concatenate([rows, rows]),
        np.concatenate([left, left + 1]),
        np.concatenate([1 - part, part]),
    )
