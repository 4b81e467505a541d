"""Outlines cut into small pieces that do not overlap, so that measuring looks only nearby.

An outline of a hundred thousand corners would be walked around once a tile; its pieces are not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Geometries = NDArray[Any]
"""Shapely polygons or multipolygons, shape (n,)."""

_MOST_CORNERS = 256
"""Pieces with more corners are halved."""

_PIECES_AT_ONCE = 1024
"""Pieces whose covers are found together."""

_MOST_COVERS = 12
"""Pieces under more others are halved before those are taken out."""

_FEWER = 0.8
"""A half must lie under at most this share of what lay on the whole, to be halved again."""

_DEEPEST = 40
"""Halvings of one outline, so that corners in one point end."""


def uncovered(polygons: Geometries) -> tuple[Geometries, NDArray[np.int64]]:
    """Return pieces of what of each polygon no later one covers, and whose piece each is.

    Args:
        polygons: Valid, shape (n,); where two overlap, the later one counts.
    """
    pieces, owner = subdivided(polygons, np.arange(len(polygons)))
    covers = _Covers.of(pieces, owner)
    parts = [
        covers.uncovered(
            pieces[start : start + _PIECES_AT_ONCE], owner[start : start + _PIECES_AT_ONCE]
        )
        for start in range(0, len(pieces), _PIECES_AT_ONCE)
    ]
    found = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return subdivided(found[0], found[1]) if found else (pieces, owner)


@dataclass(frozen=True, slots=True)
class _Covers:
    """Pieces as what lies upon others."""

    pieces: Geometries
    owner: NDArray[np.int64]
    tree: Any

    @classmethod
    def of(cls, pieces: Geometries, owner: NDArray[np.int64]) -> "_Covers":
        import shapely

        return cls(pieces, owner, shapely.STRtree(pieces))

    def uncovered(
        self, pieces: Geometries, owner: NDArray[np.int64]
    ) -> tuple[Geometries, NDArray[np.int64]]:
        """Return what nothing covers of pieces, and whose each is.

        A piece under many others is halved first, as long as that leaves fewer over each half: what
        lies under a hundred thousand nuclei would else become one outline of a million corners.
        """
        import shapely

        done, owners = [pieces[:0]], [owner[:0]]
        before = np.full(len(pieces), np.inf)
        while len(pieces):
            below, above = self.tree.query(pieces, predicate="intersects")
            hides = self.owner[above] > owner[below]
            below, above = below[hides], above[hides]
            counts = np.bincount(below, minlength=len(pieces))
            halved = (counts > _MOST_COVERS) & (counts < _FEWER * before)
            now = ~halved[below]
            take_out(pieces, below[now], self.pieces[above[now]])
            seen = ~halved & (shapely.area(pieces) > 0)
            done.append(pieces[seen])
            owners.append(owner[seen])
            pieces, owner = _halved(pieces[halved]), np.tile(owner[halved], 2)
            before = np.tile(counts[halved], 2).astype(np.float64)
            some = shapely.area(pieces) > 0
            pieces, owner, before = pieces[some], owner[some], before[some]
        return np.concatenate(done), np.concatenate(owners)


def take_out(geometries: Geometries, below: NDArray[np.int64], covers: Geometries) -> None:
    """Take each cover out of the geometry below it, in place.

    Args:
        geometries: Valid, shape (n,).
        below: Which geometry each cover lies on, shape (covers,); one may lie under several.
        covers: Valid, shape (covers,).
    """
    import shapely

    order = np.argsort(below, kind="stable")
    covered, starts, counts = np.unique(below[order], return_index=True, return_counts=True)
    covers = covers[order]
    once = counts == 1
    geometries[covered[once]] = shapely.difference(geometries[covered[once]], covers[starts[once]])
    for index, start, count in zip(covered[~once], starts[~once], counts[~once], strict=True):
        cover = shapely.disjoint_subset_union_all(covers[start : start + count])
        geometries[index] = shapely.difference(geometries[index], cover)
    geometries[covered] = only_areas(geometries[covered])


def subdivided(
    polygons: Geometries, owner: NDArray[np.int64]
) -> tuple[Geometries, NDArray[np.int64]]:
    """Halve polygons across their longer side until each has few corners; keep their owners."""
    import shapely

    done, owners = [], []
    for depth in range(_DEEPEST + 1):
        small = (shapely.get_num_coordinates(polygons) <= _MOST_CORNERS) | (depth == _DEEPEST)
        done.append(polygons[small])
        owners.append(owner[small])
        if small.all():
            break
        polygons, owner = _halved(polygons[~small]), np.tile(owner[~small], 2)
        seen = shapely.area(polygons) > 0
        polygons, owner = polygons[seen], owner[seen]
    return np.concatenate(done), np.concatenate(owners)


def _halved(polygons: Geometries) -> Geometries:
    """Return the first halves of all polygons, then their second halves."""
    import shapely

    left, top, right, bottom = shapely.bounds(polygons).T
    is_wide = right - left > bottom - top
    x, y = (
        np.where(is_wide, (left + right) / 2, right),
        np.where(is_wide, bottom, (top + bottom) / 2),
    )
    near = shapely.box(left, top, x, y)
    far = shapely.box(np.where(is_wide, x, left), np.where(is_wide, top, y), right, bottom)
    halves = np.concatenate([shapely.intersection(polygons, part) for part in (near, far)])
    return only_areas(halves)


def only_areas(geometries: Geometries) -> Geometries:
    """Drop the lines and points that an intersection may leave beside areas, in place."""
    import shapely

    mixed = ~np.isin(shapely.get_type_id(geometries), (3, 6))  # Polygon, MultiPolygon
    geometries[mixed] = [areas_of(item) for item in geometries[mixed]]
    return geometries


def areas_of(geometry: Any) -> Any:
    """Return the polygons of any geometry as one."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts(geometry))
    return shapely.union_all([part for part in parts if part.geom_type == "Polygon"])
