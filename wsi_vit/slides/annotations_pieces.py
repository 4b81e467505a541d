"""Outlines cut into small pieces that do not overlap, so that measuring looks only nearby.

An outline of a hundred thousand corners would be walked around once a tile; its pieces are not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Geometries = NDArray[Any]
"""Shapely polygons or multipolygons, shape (n,)."""

_MOST_CORNERS = 256
"""Pieces with more corners are halved."""

_DEEPEST = 40
"""Halvings of one outline, so that corners in one point end."""


def uncovered(polygons: Geometries) -> tuple[Geometries, NDArray[np.int64]]:
    """Return pieces of what of each polygon no later one covers, and whose piece each is.

    Args:
        polygons: Valid, shape (n,); where two overlap, the later one counts.
    """
    import shapely

    pieces, owner = subdivided(polygons, np.arange(len(polygons)))
    tree = shapely.STRtree(pieces)
    below, above = tree.query(pieces, predicate="intersects")
    hidden = owner[above] > owner[below]
    below, above = below[hidden], above[hidden]
    order = np.argsort(below, kind="stable")
    covered, starts = np.unique(below[order], return_index=True)
    groups = np.split(above[order], starts[1:])
    for piece, covers in zip(covered.tolist(), groups, strict=False):  # one empty group if none
        cover = shapely.union_all(pieces[covers])
        pieces[piece] = areas_of(shapely.difference(pieces[piece], cover))
    seen = shapely.area(pieces) > 0
    return subdivided(pieces[seen], owner[seen])


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
