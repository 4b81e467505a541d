"""Exact resampling: each output pixel is the mean of the area it covers, in floating point.

A downsample of 3.97 is not 4: the first and last source pixel under an output pixel count by the
share that lies below it, so that a feature comes out where it was, at any factor.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def resample(
    image: NDArray[np.uint8],
    *,
    start: tuple[float, float],
    step: tuple[float, float],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Resample an image to another grid.

    Args:
        image: Shape (height, width, channels).
        start: Where the output's top left corner lies, (x, y) in source pixels.
        step: Size of an output pixel in source pixels, (x, y).
        size: Output (width, height) in pixels.

    Returns:
        Shape (height, width, channels), uint8, rounded to nearest. Shrinking takes area means;
        enlarging interpolates linearly. Outside the image its edge is repeated.
    """
    if _is_copy(start, step, size, image.shape):
        left, top = int(start[0]), int(start[1])
        return image[top : top + size[1], left : left + size[0]]
    height, width, channels = image.shape
    down = _weights(height, start[1], step[1], size[1])
    across = _weights(width, start[0], step[0], size[0])
    tall = down @ image.reshape(height, width * channels).astype(np.float32)
    turned = tall.reshape(size[1], width, channels).transpose(1, 0, 2).reshape(width, -1)
    both = across @ np.ascontiguousarray(turned)
    exact = both.reshape(size[0], size[1], channels).transpose(1, 0, 2)
    return np.clip(np.rint(exact), 0, 255).astype(np.uint8)


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


@lru_cache(maxsize=256)
def _weights(source: int, start: float, step: float, count: int) -> sparse.csr_array:
    """Return the (count, source) matrix that resamples one axis; each row sums to 1."""
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
