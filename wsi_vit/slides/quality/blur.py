"""How blurred tissue is, told from how little a further blur takes away from it.

Crété, Dolmiere, Ladret & Nicolas, "The blur effect" (SPIE 6492, 2007): the differences between
neighbours are compared with those after a blur over nine pixels. What is sharp loses most of them,
what is blurred already loses little. The share that stays is the blur, from 0 (sharp) to 1; of the
two axes the more blurred one counts.

It is taken on the optical density of green, which haematoxylin and eosin both absorb most. A stain
of twice the strength doubles every density, so it changes nothing in a ratio of them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.areas import Boxes, sum_over
from wsi_vit.slides.overview import FINE, Block

BIN_CELLS = 4
"""Side of the bins that differences are added up in: 32 µm where a cell measures 8."""
_BIN_PX = BIN_CELLS * FINE
BLOCK_BINS = 4
"""Side of the blocks that a map is drawn in: 128 µm."""
BLURRED = 0.35
"""Blur from which tissue is called out of focus: that of a Gaussian of about 4 µm. On three real
slides of three stains the median of sharp tissue is 0.16 to 0.18 and less than 1 % of blocks reach
0.31; blurred by 2, 4, 6 and 8 µm the medians are 0.25, 0.37, 0.50 and 0.60 on each of them."""
_REACH = 4
"""Pixels that the further blur reaches to either side: nine in all, as in the paper."""
_STRIP_PX = 8 * _BIN_PX
"""Fine pixels that are measured at a time, across: what is computed on the way stays in the cache,
and the memory for it is not asked of the system again for every block."""
_LEAST = 1e-6
"""Differences that add up to less are none."""
_DENSITY = (-np.log10((np.arange(256) + 1) / 256)).astype(np.float32)

Map = NDArray[np.float32]
"""Shape (rows, columns)."""


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """Differences between neighbouring fine pixels of a slide, added up in bins."""

    sums: NDArray[np.float32]
    """Shape (2, 2, rows, columns): along x and along y, how much neighbours differ, and how much of
    that a blur takes away."""

    @classmethod
    def over(cls, rows: int, columns: int) -> Self:
        """Return the empty texture of so many cells."""
        shape = (-(-rows // BIN_CELLS), -(-columns // BIN_CELLS))
        return cls(np.zeros((2, 2, *shape), np.float32))

    def add(self, block: Block, fine: NDArray[np.uint8]) -> None:
        """Measure one block of cells on its fine pixels, RGB (rows, columns, 3).

        Blocks start at whole bins. What lies nearer to a block's edge than the blur reaches is not
        measured.
        """
        density = _DENSITY[fine[..., 1]]
        down, across = (slice(s.start // BIN_CELLS, -(-s.stop // BIN_CELLS)) for s in block)
        for axis in (0, 1):
            self.sums[axis, :, down, across] = _binned(density, axis)

    def blur(self, weights: Map, cell: float, boxes: Boxes) -> NDArray[np.float64]:
        """Return the blur of each box, from 0 to 1; NaN where nothing was measured.

        Args:
            weights: How much each bin counts, such as its share of tissue.
            cell: Side of a cell in base pixels.
            boxes: Where.
        """
        sums = [[sum_over(part * weights, cell * BIN_CELLS, boxes) for part in axis]
                for axis in self.sums]  # fmt: skip
        return _blur(np.array(sums))

    def blur_map(self, weights: Map) -> NDArray[np.float64]:
        """Return the blur of each block of 4 x 4 bins; NaN where nothing was measured.

        Args:
            weights: How much each bin counts.
        """
        return _blur(in_blocks(self.sums * weights).astype(np.float64))


def in_blocks(bins: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of blocks of 4 x 4 bins, (..., rows, columns): bins alone are too noisy."""
    *before, rows, columns = bins.shape
    down, across = -(-rows // BLOCK_BINS), -(-columns // BLOCK_BINS)
    framed = np.zeros((*before, down * BLOCK_BINS, across * BLOCK_BINS), np.float32)
    framed[..., :rows, :columns] = bins
    parts = framed.reshape(*before, down, BLOCK_BINS, across, BLOCK_BINS)
    return parts.sum(axis=(-3, -1))


def _blur(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    found, lost = sums[:, 0], sums[:, 1]
    is_known = found > _LEAST
    stays = np.where(is_known, 1 - lost / np.where(is_known, found, 1.0), np.nan)
    return np.clip(np.fmax(stays[0], stays[1]), 0.0, 1.0)


def _binned(density: Map, axis: int) -> NDArray[np.float32]:
    """Return how much neighbours differ along x (axis 0) or y, and what of it is lost, by bins."""
    along = density if axis == 0 else density.T
    strips = (along[first : first + _STRIP_PX] for first in range(0, len(along), _STRIP_PX))
    both = np.concatenate([_differences(strip) for strip in strips], axis=1)
    return both if axis == 0 else both.transpose(0, 2, 1)


def _differences(along: Map) -> NDArray[np.float32]:
    """Return how much neighbours in a row differ, and what of it is lost, by bins."""
    step = np.abs(np.diff(along, axis=1))[:, _REACH:-_REACH]
    far = np.abs(along[:, 2 * _REACH + 1 :] - along[:, : -2 * _REACH - 1]) / (2 * _REACH + 1)
    lost = np.maximum(step - far, 0)
    return np.stack([_added(part, along.shape) for part in (step, lost)])


def _added(values: Map, shape: tuple[int, ...]) -> Map:
    """Add up by bins what was measured between the ends of rows of this shape."""
    rows, columns = (-(-side // _BIN_PX) for side in shape)
    framed = np.zeros((rows * _BIN_PX, columns * _BIN_PX), np.float32)
    framed[: len(values), _REACH + 1 : _REACH + 1 + values.shape[1]] = values
    tall = framed.reshape(rows, _BIN_PX, -1).sum(axis=1)
    return tall.reshape(rows, columns, _BIN_PX).sum(axis=2)
