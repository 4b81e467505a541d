"""Small geometry on masks: parts, holes, islands, all 4-connected.

It is numpy's alone: every command that touches a slide comes by here, and to import SciPy's image
functions takes longer than all that is done with them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_Indices = NDArray[np.int64]


def fill_holes(mask: NDArray[np.bool_], most_cells: float) -> NDArray[np.bool_]:
    """Fill enclosed holes of at most this many cells; what touches the border is no hole."""
    parts = _Parts.of(~mask)
    return mask | parts.painted((parts.cells <= most_cells) & ~parts.at_border)


def drop_islands(mask: NDArray[np.bool_], most_cells: float) -> NDArray[np.bool_]:
    """Remove islands of at most this many cells."""
    parts = _Parts.of(mask)
    return parts.painted(parts.cells > most_cells)


def grow(
    mask: NDArray[np.bool_], cells: int, *, within: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Grow a mask by this many cells, only inside `within` where that is given."""
    grown = mask
    for _ in range(cells if mask.any() else 0):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        wider[:, 1:] |= grown[:, :-1]
        wider[:, :-1] |= grown[:, 1:]
        grown = wider if within is None else grown | (wider & within)
    return grown


def close_gaps(mask: NDArray[np.bool_], cells: int) -> NDArray[np.bool_]:
    """Close gaps of up to twice this many cells; the border does not eat the mask."""
    return ~grow(~grow(mask, cells), cells)


def inner_edge(mask: NDArray[np.bool_], cells: int) -> NDArray[np.bool_]:
    """Return the part of a mask at most this many cells from what is outside it.

    The border is no edge: what is cut off there goes on.
    """
    return mask & grow(~mask, cells)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The connected parts of a mask, as runs of cells within a row."""

    shape: tuple[int, int]
    starts: _Indices
    """Where each run starts, in rows of one cell more than there are columns."""
    ends: _Indices
    """The cell after its last one."""
    part_of: _Indices
    """Which part each run belongs to, from 0."""

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Self:
        """Find them: runs that touch in neighbouring rows are of one part."""
        rows, columns = mask.shape
        framed = np.zeros((rows, columns + 1), np.int8)  # the spare cell ends a row's last run
        framed[:, :-1] = mask
        steps = np.diff(framed.ravel(), prepend=np.int8(0))
        starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        # Below a run lie those that end behind its start and start before its end.
        first = np.searchsorted(ends, starts + columns + 1, side="right")
        counts = np.searchsorted(starts, ends + columns + 1, side="left") - first
        above = np.repeat(np.arange(len(starts)), counts)
        below = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return cls((rows, columns), starts, ends, _joined(len(starts), above, below))

    @property
    def cells(self) -> _Indices:
        """Count the cells of each part."""
        return np.bincount(self.part_of, weights=self.ends - self.starts).astype(np.int64)

    @property
    def at_border(self) -> NDArray[np.bool_]:
        """Say of each part whether it touches the border."""
        rows, columns = self.shape
        row, column = np.divmod(self.starts, columns + 1)
        last = column + self.ends - self.starts
        touches = (row == 0) | (row == rows - 1) | (column == 0) | (last == columns)
        return np.bincount(self.part_of, weights=touches) > 0

    def painted(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask of the parts that are wanted."""
        rows, columns = self.shape
        kept = wanted[self.part_of]
        steps = np.zeros(rows * (columns + 1), np.int8)
        steps[self.starts[kept]] = 1
        steps[self.ends[kept]] = -1
        inside = np.cumsum(steps, dtype=np.int8).view(np.bool_)
        return inside.reshape(rows, columns + 1)[:, :-1].copy()


def _joined(count: int, ones: _Indices, others: _Indices) -> _Indices:
    """Number the connected parts of a graph of `count` nodes, (count,), from 0.

    Every round hooks a root to the smallest one beside it and then lets all nodes point to their
    roots (Shiloach and Vishkin, 1982), so that few rounds do.
    """
    root = np.arange(count)
    while True:
        one, other = root[ones], root[others]
        apart = one != other
        if not apart.any():
            return np.unique(root, return_inverse=True)[1]
        ones, others, one, other = ones[apart], others[apart], one[apart], other[apart]
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(above := root[root], root):
            root = above
