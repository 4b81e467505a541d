"""Blend overlapping tiles into rows, holding one band of rows at a time: arrays only."""

from collections.abc import Iterable, Iterator
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

    A Gaussian, as in nnU-Net (Isensee et al., Nature Methods 2021): a tile's rim, where the model
    sees the least around it, gives way to the neighbour's middle. Its sigma is a quarter of the
    side: nnU-Net's eighth hands over within a tenth of a tile, which shows as a seam where two
    tiles disagree, and left a map of street scenes less right. A tile of one pixel weighs 1.
    """
    offset = np.arange(side_px) - (side_px - 1) / 2
    line = np.exp(-0.5 * (offset / (side_px / 4)) ** 2)
    return np.outer(line, line).astype(np.float32)


class BandBlender:
    """Weighted means of tiles that come row by row; memory depends on the width alone.

    Tiles of the current row cover its first `tile_px` rows. Once all of a row's tiles are there,
    `advance` gives up the rows that no later tile touches.
    """

    def __init__(self, *, classes: int, width_px: int, tile_px: int) -> None:
        self._window = gaussian_window(tile_px)
        self._sum = np.zeros((classes, tile_px, width_px), np.float32)
        self._weight = np.zeros((tile_px, width_px), np.float32)

    @property
    def tile_px(self) -> int:
        """Side of a tile."""
        return self._weight.shape[0]

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

    def advance(self, rows: int) -> Band:
        """Return the first `rows` rows, and let the next row of tiles begin below them.

        After the last row of tiles, advance by a whole tile.

        Raises:
            ValueError: The next tiles would begin below the end of these.
        """
        side = self._weight.shape[0]
        if not 0 < rows <= side:
            raise ValueError(f"{rows} rows on, {side} px tiles leave gaps or do not move")
        band = self._band(rows)
        for held in (self._sum, self._weight):
            held[..., : side - rows, :] = held[..., rows:, :].copy()
            held[..., side - rows :, :] = 0
        return band

    def _band(self, rows: int) -> Band:
        total, weight = self._sum[:, :rows], self._weight[:rows]
        covered = weight > 0
        return Band(np.divide(total, weight, out=np.zeros_like(total), where=covered), covered)


def blended(
    tiles: Iterable[tuple[int, int, Scores | None]], blender: BandBlender, *, stride_px: int
) -> Iterator[Band]:
    """Yield the finished rows of tiles that come row by row, from the top down to the last tile's.

    Args:
        tiles: The row of tiles each belongs to, its left edge in pixels, and its scores; None
            leaves a hole.
        blender: An empty one.
        stride_px: From one row of tiles to the next.
    """
    row = 0
    for own_row, left, scores in tiles:
        for _ in range(own_row - row):
            yield blender.advance(stride_px)
        row = own_row
        if scores is not None:
            blender.add(scores, left=left)
    yield blender.advance(blender.tile_px)


@dataclass(frozen=True, slots=True)
class Stripe:
    """Columns [left, right) of a map, stitched together."""

    left: int
    right: int


def cut_stripes(
    width_px: int, *, column_bytes: int, memory_mb: int, unit_px: int
) -> Iterator[Stripe]:
    """Cut a map into vertical stripes that fit the memory ceiling; they end on whole units."""
    width = max(1, int(memory_mb * 1e6 / column_bytes) // unit_px) * unit_px
    for left in range(0, width_px, width):
        yield Stripe(left, min(left + width, width_px))
