"""Blend overlapping tiles into rows, holding one band of rows at a time: arrays only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
"""Scores of a class a plane, shape (classes, height, width)."""


@dataclass(frozen=True, slots=True)
class Band:
    """Finished rows."""

    scores: Scores
    """Weighted means; 0 where no tile lies."""
    is_covered: NDArray[np.bool_]
    """Shape (height, width): where at least one tile lies."""


def gaussian_window(side_px: int) -> NDArray[np.float32]:
    """Return the weight of each pixel of a tile, shape (side, side), highest in the middle.

    A Gaussian of sigma side / 8, as in nnU-Net (Isensee et al., Nature Methods 2021): a tile's rim,
    where the model sees the least around it, gives way to the neighbour's middle. A tile of one
    pixel weighs 1.
    """
    offset = np.arange(side_px) - (side_px - 1) / 2
    line = np.exp(-0.5 * (offset / (side_px / 8)) ** 2)
    return np.outer(line, line).astype(np.float32)


class BandBlender:
    """Weighted means of tiles that come row by row; memory depends on the width alone.

    Tiles of row r cover the rows [r stride, r stride + tile). After them, no later tile touches the
    first `stride` rows, which then leave the accumulator.
    """

    def __init__(self, *, classes: int, width_px: int, tile_px: int, stride_px: int) -> None:
        if not 0 < stride_px <= tile_px:
            raise ValueError(f"a stride of {stride_px} px leaves gaps between {tile_px} px tiles")
        self._window = gaussian_window(tile_px)
        self._stride = stride_px
        self._sum = np.zeros((classes, tile_px, width_px), np.float32)
        self._weight = np.zeros((tile_px, width_px), np.float32)

    def add(self, scores: Scores, *, left: int) -> None:
        """Add a tile of the current row, (classes, tile, tile), its left edge at column `left`.

        What lies beyond the sides is cut off.
        """
        width, side = self._weight.shape[1], self._window.shape[1]
        start, stop = max(left, 0), min(left + side, width)
        if start >= stop:
            return
        inside = slice(start - left, stop - left)
        window = self._window[:, inside]
        self._sum[:, :, start:stop] += scores[:, :, inside] * window
        self._weight[:, start:stop] += window

    def finish_row(self) -> Band:
        """Return the rows that are done, `stride` of them, and move on to the next row of tiles."""
        band = self._band(self._stride)
        kept = self._weight.shape[0] - self._stride
        for held in (self._sum, self._weight):
            held[..., :kept, :] = held[..., self._stride :, :].copy()
            held[..., kept:, :] = 0
        return band

    def finish(self) -> Band:
        """Return the rows that are left after the last row of tiles, tile - stride of them."""
        return self._band(self._weight.shape[0] - self._stride)

    def _band(self, rows: int) -> Band:
        total, weight = self._sum[:, :rows], self._weight[:rows]
        covered = weight > 0
        return Band(np.divide(total, weight, out=np.zeros_like(total), where=covered), covered)
