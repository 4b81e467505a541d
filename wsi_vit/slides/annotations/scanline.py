"""Fill polygons on a pixel grid: a pixel is inside where its centre is.

Of a centre exactly on an edge, the polygon to the right of (or below) the edge has it, so that
polygons that share an edge leave no gap and share no pixel.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.geometry import Region


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of all rings of a polygon, in base pixels, each of shape (n,), y0 < y1."""

    x0: NDArray[np.float64]
    y0: NDArray[np.float64]
    x1: NDArray[np.float64]
    y1: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EdgeTable:
    """The edges of many polygons, in one table."""

    edges: Edges
    starts: NDArray[np.int64]
    """Where the edges of each polygon begin, shape (polygons + 1,)."""

    def __getitem__(self, polygon: int) -> Edges:
        """Return the edges of one polygon, as views."""
        part = slice(self.starts[polygon], self.starts[polygon + 1])
        return Edges(
            *(item[part] for item in (self.edges.x0, self.edges.y0, self.edges.x1, self.edges.y1))
        )


def edge_table(polygons: NDArray[Any]) -> EdgeTable:
    """Return the edges of polygons or multipolygons (n,); level ones cross no scan line."""
    import shapely

    parts, of_part = shapely.get_parts(polygons, return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = (ring[1:] == ring[:-1]) & (corners[1:, 1] != corners[:-1, 1])
    owner = of_part[of_ring[ring[:-1][is_edge]]]
    starts = np.searchsorted(owner, np.arange(len(polygons) + 1))
    return EdgeTable(_sorted_edges(corners[:-1][is_edge], corners[1:][is_edge]), starts)


def _sorted_edges(start: NDArray[np.float64], end: NDArray[np.float64]) -> Edges:
    is_down = (start[:, 1] < end[:, 1])[:, None]
    upper, lower = np.where(is_down, start, end), np.where(is_down, end, start)
    return Edges(upper[:, 0], upper[:, 1], lower[:, 0], lower[:, 1])


def fill(picture: NDArray[np.uint8], edges: Edges, region: Region, *, value: int) -> None:
    """Set the pixels of a picture (height, width) of a region whose centres lie inside.

    Every scan line through pixel centres is cut where an edge crosses it; between an odd and an
    even cut it is inside. Only the rows and columns between the outermost cuts are looked at.
    """
    row, column = _cuts(edges, region, picture.shape)
    if not len(row):
        return
    top, left = int(row.min()), int(column.min())
    high, wide = int(row.max()) + 1 - top, int(column.max()) - left
    at = (row - top) * (wide + 1) + (column - left)
    cuts = np.bincount(at, minlength=high * (wide + 1)).reshape(high, wide + 1)
    inside = np.cumsum(cuts, axis=1)[:, :wide] % 2 == 1
    picture[top : top + high, left : left + wide][inside] = value


def _cuts(
    edges: Edges, region: Region, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row of each cut and the first column right of it, at most the width."""
    height, width = shape
    step_x, step_y = region.width / width, region.height / height
    first = np.ceil((edges.y0 - region.y) / step_y - 0.5).clip(0, height).astype(np.int64)
    last = np.ceil((edges.y1 - region.y) / step_y - 0.5).clip(0, height).astype(np.int64)
    crossing = last > first
    first, count = first[crossing], (last - first)[crossing]
    edge = np.repeat(np.flatnonzero(crossing), count)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    row = np.repeat(first, count) + within
    y = region.y + (row + 0.5) * step_y
    x0, y0, x1, y1 = (item[edge] for item in (edges.x0, edges.y0, edges.x1, edges.y1))
    x = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    column = np.ceil((x - region.x) / step_x - 0.5).clip(0, width).astype(np.int64)
    return row, column
