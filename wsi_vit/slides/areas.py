"""Sums over rectangles of a coarse map, exact to part of a cell."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.geometry import Region

Boxes = NDArray[np.float64]
"""Left, top, right and bottom of rectangles, in base pixels, shape (n, 4)."""


def boxes_of(regions: Sequence[Region]) -> Boxes:
    """Return regions as rows of numbers."""
    sides = [(r.x, r.y, r.right, r.bottom) for r in regions]
    return np.array(sides, np.float64).reshape(-1, 4)


def share_of(mask: NDArray[np.bool_], cell: float, boxes: Boxes) -> NDArray[np.float64]:
    """Return the share of each box under a mask (rows, columns), from 0 to 1.

    What of a box lies outside the mask's plane counts as not under it.

    Args:
        mask: One value a cell.
        cell: Side of a cell in base pixels.
        boxes: Where.
    """
    if not mask.any():
        return np.zeros(len(boxes))
    left, top, right, bottom = boxes.T / cell
    return np.clip(sum_over(mask, cell, boxes) / ((right - left) * (bottom - top)), 0.0, 1.0)


def sum_over(
    values: NDArray[np.bool_] | NDArray[np.float32], cell: float, boxes: Boxes
) -> NDArray[np.float64]:
    """Return the sum of a map over each box; a cell counts by the part of it that is inside.

    By differences of the summed area table (Crow, SIGGRAPH 1984).
    """
    rows, columns = values.shape
    kind = np.int32 if values.dtype == np.bool_ else np.float64
    table = np.zeros((rows + 1, columns + 1), kind)
    np.cumsum(values, axis=0, out=table[1:, 1:], dtype=kind)
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    left, top, right, bottom = boxes.T / cell
    return (
        _read(table, right, bottom)
        - _read(table, left, bottom)
        - _read(table, right, top)
        + _read(table, left, top)
    )


def _read(
    table: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Read the table between its points: exact, as a cell has one value."""
    x = np.clip(x, 0, table.shape[1] - 1)
    y = np.clip(y, 0, table.shape[0] - 1)
    column = np.minimum(x.astype(np.int64), table.shape[1] - 2)
    row = np.minimum(y.astype(np.int64), table.shape[0] - 2)
    right, down = x - column, y - row
    upper = table[row, column] * (1 - right) + table[row, column + 1] * right
    lower = table[row + 1, column] * (1 - right) + table[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down
