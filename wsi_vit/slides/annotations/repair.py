"""Outlines as they were drawn become areas on the slide, and what was changed is told.

- An outline that crosses or touches itself keeps every part that it goes round, whichever way
  round, and once where it goes round twice; a hole that hangs on it by a bridge stays a hole.
- Holes are cut out wherever they lie, also where they cross their outline or each other.
- What encloses no area (fewer than three different corners, corners in one line) is left out.
- A negative outline is cut out of every other outline of its layer.
- What lies beyond the slide is cut off.

Nothing is left out without a note that counts it and says which outlines they were, and where.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.annotations.pieces import Geometries, areas_of, only_areas, take_out
from wsi_vit.slides.annotations.shapes import Ring, Shape

_SEEN_SHARE = 1e-3
"""Parts outside the slide are worth a note beyond this share of an outline."""

_NAMED = 4
"""So many outlines are named in a note; the rest is counted."""


def repaired(shapes: Sequence[Shape]) -> tuple[Geometries, list[str]]:
    """Return one valid polygon (or multipolygon, perhaps empty) a shape, with notes."""
    import shapely

    geometries, lost_holes = _polygons(shapes)
    invalid = ~shapely.is_valid(geometries)
    geometries[invalid] = [_mended(shapes[index]) for index in np.flatnonzero(invalid).tolist()]
    is_flat = shapely.area(geometries) <= 0
    notes = _told("repaired, crossing or touching itself", shapes, invalid & ~is_flat)
    notes += _told("left out, enclosing no area", shapes, is_flat)
    if lost_holes:
        notes.append(f"{lost_holes} holes left out, enclosing no area")
    return geometries, notes


def cut_negatives(geometries: Geometries, shapes: Sequence[Shape]) -> list[str]:
    """Take negative outlines out of the others of their layer, and empty them, in place."""
    import shapely

    layers = np.array([shape.layer for shape in shapes])
    is_negative = np.array([shape.is_hole for shape in shapes])
    solid, holes = np.flatnonzero(~is_negative), np.flatnonzero(is_negative)
    which, hole = shapely.STRtree(geometries[holes]).query(geometries[solid], "intersects")
    which, hole = solid[which], holes[hole]
    same = layers[which] == layers[hole]
    had_area = shapely.area(geometries) > 0
    take_out(geometries, which[same], geometries[hole[same]])
    gone = had_area & ~is_negative & (shapely.area(geometries) <= 0)
    idle = had_area & is_negative
    idle[hole[same]] = False
    geometries[holes] = shapely.Polygon()
    return [
        *_told("left out, taken out whole by negative ones", shapes, gone),
        *_told("left out, negative with nothing of its layer below", shapes, idle),
    ]


def clipped(
    geometries: Geometries, shapes: Sequence[Shape], slide_size: tuple[int, int]
) -> tuple[Geometries, list[str]]:
    """Return what of each polygon lies on the slide, with notes."""
    import shapely

    before = shapely.area(geometries)
    inside = geometries.copy()
    beyond = ~_within(geometries, slide_size)
    cut_off = shapely.intersection(geometries[beyond], shapely.box(0, 0, *slide_size))
    inside[beyond] = only_areas(cut_off)
    after = shapely.area(inside)
    gone = (before > 0) & (after <= 0)
    cut = (after > 0) & (before - after > _SEEN_SHARE * before)
    notes = _told("left out, wholly outside the slide", shapes, gone)
    if cut.any():
        share = 100 * (1 - after[cut].sum() / before[cut].sum())
        notes += _told(f"cut off at the slide's edge ({share:.0f} % of the area)", shapes, cut)
    return inside, notes


def _within(geometries: Geometries, slide_size: tuple[int, int]) -> NDArray[np.bool_]:
    import shapely

    left, top, right, bottom = shapely.bounds(geometries).T  # NaN where empty
    return (left >= 0) & (top >= 0) & (right <= slide_size[0]) & (bottom <= slide_size[1])


def _polygons(shapes: Sequence[Shape]) -> tuple[Geometries, int]:
    """Return polygons as drawn, empty without an outline, and how many holes have no area."""
    import shapely

    rings: list[Ring] = []
    owners: list[int] = []
    lost = 0
    for index, shape in enumerate(shapes):
        outline, *holes = shape.rings
        if _is_flat(outline):
            continue
        kept = [hole for hole in holes if not _is_flat(hole)]
        lost += len(holes) - len(kept)
        rings += [outline, *kept]
        owners += [index] * (1 + len(kept))
    polygons = np.full(len(shapes), shapely.Polygon(), dtype=object)
    if rings:
        corners, lengths = np.concatenate(rings), [len(ring) for ring in rings]
        drawn: Any = shapely.linearrings(corners, indices=np.repeat(np.arange(len(rings)), lengths))
        shapely.polygons(drawn, indices=np.array(owners), out=polygons)
    return polygons, lost


def _mended(shape: Shape) -> Any:
    """Return the area of one shape, ring by ring: as a whole, a hole outside becomes an area."""
    import shapely

    rings = [shapely.Polygon(ring) for ring in shape.rings if not _is_flat(ring)]
    whole = shapely.make_valid(rings, method="structure", keep_collapsed=False)
    outline, *holes = (areas_of(item) for item in whole)
    return areas_of(shapely.difference(outline, shapely.union_all(holes)))


def _is_flat(ring: Ring) -> bool:
    """Whether a ring has fewer than three different corners; a long one is not looked through."""
    return len(ring) <= 8 and len({tuple(corner) for corner in ring.tolist()}) < 3


def _told(what: str, shapes: Sequence[Shape], chosen: NDArray[np.bool_]) -> list[str]:
    """Return a note on the chosen outlines that names the first of them, none if there is none."""
    count = int(chosen.sum())
    if not count:
        return []
    first = [shapes[index] for index in np.flatnonzero(chosen)[:_NAMED]]
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    outlines = "outline" if count == 1 else "outlines"
    return [f"{count} {outlines} {what}: {', '.join(_places(first))}{more}"]


def _places(shapes: Iterable[Shape]) -> list[str]:
    return [
        f"{shape.names[0]} at {shape.rings[0][0, 0]:.0f} {shape.rings[0][0, 1]:.0f}"
        if len(shape.rings[0])
        else f"{shape.names[0]} without corners"
        for shape in shapes
    ]
