"""Outlines on a slide, measured exactly and drawn exactly.

Where outlines overlap, the smaller one counts: a gland drawn inside a tumour is the gland's class,
in whatever order the two were drawn. Of two of equal area the later one counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.geometry import Region
from wsi_vit.slides.annotations.pieces import Geometries, uncovered
from wsi_vit.slides.annotations.scanline import EdgeTable, edge_table, fill

CARVED = -1
"""Class of an area taken out of every annotation."""

_REGIONS_AT_ONCE = 256
"""Regions measured together: an intersection takes about a kilobyte until it is measured."""


@dataclass(frozen=True, slots=True)
class PolygonAnnotations:
    """Outlines of known classes, the largest first."""

    polygons: Geometries
    """Whole, valid and inside the slide; shape (n,)."""
    classes: NDArray[np.int64]
    """Training ids, shape (n,); -1 for areas taken out."""
    class_count: int
    notes: tuple[str, ...]
    _pieces: "_Pieces" = field(init=False, repr=False)
    _tree: Any = field(init=False, repr=False)
    _edges: EdgeTable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import shapely

        object.__setattr__(self, "_pieces", _pieces_of(self.polygons, self.classes))
        object.__setattr__(self, "_tree", shapely.STRtree(self.polygons))
        object.__setattr__(self, "_edges", edge_table(self.polygons))

    def coverage(self, regions: Sequence[Region]) -> NDArray[np.float64]:
        """Return the exact share of each region covered by each class, shape (n, classes)."""
        sides = [(r.x, r.y, r.right, r.bottom) for r in regions]
        boxes = np.array(sides, np.float64).reshape(-1, 4)
        shares = np.zeros((len(boxes), self.class_count))
        for start in range(0, len(boxes), _REGIONS_AT_ONCE):
            part = slice(start, start + _REGIONS_AT_ONCE)
            shares[part] = self._pieces.shares(boxes[part], self.class_count)
        return shares

    def mask(
        self, region: Region, *, width_px: int, height_px: int, other: int
    ) -> NDArray[np.uint8]:
        """Return the training id at each pixel's centre, shape (height_px, width_px)."""
        import shapely

        picture = np.full((height_px, width_px), other, np.uint8)
        box = shapely.box(region.x, region.y, region.right, region.bottom)
        for index in np.sort(self._tree.query(box)):  # the largest first
            known = self.classes[index] != CARVED
            value = int(self.classes[index]) if known else other
            fill(picture, self._edges[index], region, value=value)
        return picture


@dataclass(frozen=True, slots=True)
class _Pieces:
    """What is seen of the outlines of known classes, in pieces that do not overlap."""

    polygons: Geometries
    classes: NDArray[np.int64]
    bounds: NDArray[np.float64]
    """Left, top, right and bottom, shape (n, 4)."""
    areas: NDArray[np.float64]
    tree: Any

    def shares(self, boxes: NDArray[np.float64], class_count: int) -> NDArray[np.float64]:
        """Return the share of each box (left, top, right, bottom) that each class covers."""
        import shapely

        squares = shapely.box(*boxes.T)
        which, piece = self.tree.query(squares)
        common = self.areas[piece]
        cut = ~_contains(boxes[which], self.bounds[piece])
        common[cut] = shapely.area(
            shapely.intersection(self.polygons[piece[cut]], squares[which[cut]])
        )
        weights = common / shapely.area(squares)[which]
        at = which * class_count + self.classes[piece]
        total = np.bincount(at, weights=weights, minlength=len(boxes) * class_count)
        return total.reshape(len(boxes), class_count).clip(0.0, 1.0)


def _pieces_of(polygons: Geometries, classes: NDArray[np.int64]) -> _Pieces:
    import shapely

    pieces, owner = uncovered(polygons)
    known = classes[owner] != CARVED
    pieces, owner = pieces[known], owner[known]
    return _Pieces(
        polygons=pieces,
        classes=classes[owner],
        bounds=shapely.bounds(pieces).reshape(-1, 4),
        areas=shapely.area(pieces),
        tree=shapely.STRtree(pieces),
    )


def _contains(outer: NDArray[np.float64], inner: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which boxes (n, 4) lie wholly within others (n, 4), edges included."""
    begins = np.all(inner[:, :2] >= outer[:, :2], axis=1)
    return np.logical_and(begins, np.all(inner[:, 2:] <= outer[:, 2:], axis=1))
