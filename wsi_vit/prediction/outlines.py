"""From a class map to polygons, arrays and shapely only.

Every border between two ids is drawn once, as lines from junction to junction, so that neighbours
share it exactly. A line runs through the middles of the pixel edges it follows, which turns stairs
into slopes, and is simplified by at most 0.35 px. A pixel's centre is sqrt(2) / 4 = 0.354 px from
the nearest such line, so no centre ever changes sides: drawing the polygons gives the map back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_vit.labels import IGNORE_ID

if TYPE_CHECKING:
    from shapely import Polygon

TOLERANCE_PX = 0.35
"""Less than sqrt(2) / 4; see above."""

_WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""The four edges that meet at a corner of pixels, as (x, y) steps."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A connected part of one class."""

    class_id: int
    polygon: "Polygon"
    """In map pixels, x right and y down, with its holes."""
    pixels: int
    mean_value: float
    """Mean over its pixels of the values handed in."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """The 4-connected parts of a map, as runs along its rows; part 0 is what was not computed.

    Runs are few beside pixels, and so is what they take in memory.
    """

    starts: NDArray[np.int64]
    """First pixel of each run, counted row by row."""
    owners: NDArray[np.int32]
    """Part of each run."""
    class_ids: NDArray[np.int64]
    """Class of each part, starting with part 0 (255)."""
    shape: tuple[int, int]

    def count(self) -> NDArray[np.float64]:
        """Return how many pixels each part has."""
        lengths = np.diff(self.starts, append=self.shape[0] * self.shape[1])
        return np.bincount(self.owners, lengths, len(self.class_ids)).astype(np.float64)

    def add_up(self, values: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the sum of values (rows, columns) over each part."""
        sums = np.add.reduceat(values.ravel(), self.starts, dtype=np.int64)
        return np.bincount(self.owners, sums, len(self.class_ids)).astype(np.float64)

    def centres(self) -> NDArray[np.float64]:
        """Return the centre, (x, y), of the first pixel of each part but part 0."""
        first = np.empty(len(self.class_ids), np.int64)
        first[self.owners[::-1]] = self.starts[::-1]  # of equal owners, the last one written stays
        rows, columns = np.divmod(first[1:], self.shape[1])
        return np.stack([columns, rows], axis=1) + 0.5


def count_edges(ids: NDArray[np.uint8]) -> int:
    """Return how many pixel edges lie between two ids: what tracing takes in time and memory."""
    return sum(int(np.count_nonzero(edges)) for edges in _edges(ids))


def trace(
    ids: NDArray[np.uint8], values: NDArray[np.uint8], *, least_pixels: float = 0.0
) -> list[Outline]:
    """Return the outline of each connected part of each class, by class and first pixel.

    Args:
        ids: Training ids, shape (rows, columns); 255 has no outline.
        values: Shape (rows, columns), averaged over each part.
        least_pixels: Parts and holes below this many pixels are left out.
    """
    parts = _parts(ids)
    polygons = _polygons(ids, parts)
    pixels, sums = parts.count(), parts.add_up(values)
    return [
        Outline(
            int(parts.class_ids[part]),
            _without_small_holes(polygons[part], least_pixels),
            int(pixels[part]),
            float(sums[part] / pixels[part]),
        )
        for part in range(1, len(parts.class_ids))
        if pixels[part] >= least_pixels
    ]


def _parts(ids: NDArray[np.uint8]) -> _Parts:
    numbers = np.zeros(ids.shape, np.int32)
    class_ids = [IGNORE_ID]
    for class_id in np.unique(ids[ids != IGNORE_ID]).tolist():
        inside = ids == class_id
        found = np.empty(ids.shape, np.int32)
        ndimage.label(inside, output=found)
        numbers[inside] = found[inside] + len(class_ids) - 1
        class_ids += [class_id] * int(found.max())
    flat = numbers.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    return _Parts(starts, flat[starts], np.array(class_ids), (ids.shape[0], ids.shape[1]))


def _polygons(ids: NDArray[np.uint8], parts: _Parts) -> dict[int, "Polygon"]:
    """Return the polygon of each part; not simplified where that would make lines cross."""
    import shapely

    lines = _lines(ids)
    simple = _assign(shapely.simplify(lines, TOLERANCE_PX, preserve_topology=False), parts)
    found = simple or _assign(lines, parts)
    if found is None:  # cannot be: the lines enclose every part exactly once
        raise AssertionError("outlines do not enclose the parts of a class map")
    return found


def _assign(lines: "NDArray[np.object_]", parts: _Parts) -> dict[int, "Polygon"] | None:
    """Return the face around each part's first pixel; None unless they fit one to one."""
    import shapely

    count = len(parts.class_ids)
    faces: Any = shapely.get_parts(shapely.polygonize(lines))
    centres = shapely.points(parts.centres())
    part, face = shapely.STRtree(faces).query(centres, predicate="within")
    fits = len(part) == count - 1 == len(np.unique(face)) and len(np.unique(part)) == len(part)
    if not fits or not shapely.is_valid(faces[face]).all():
        return None
    return {int(p) + 1: faces[f] for p, f in zip(part, face, strict=True)}


def _lines(ids: NDArray[np.uint8]) -> "NDArray[np.object_]":
    """Return all borders as lines from junction to junction, and as rings without any."""
    import shapely

    segments: Any = shapely.linestrings(np.concatenate(list(_links(ids))))
    return shapely.get_parts(shapely.line_merge(shapely.multilinestrings(segments)))


def _edges(ids: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where horizontal (rows + 1, columns) and vertical (rows, columns + 1) edges are."""
    framed = np.pad(ids, 1, constant_values=IGNORE_ID)
    across = framed[:-1, 1:-1] != framed[1:, 1:-1]
    down = framed[1:-1, :-1] != framed[1:-1, 1:]
    return across, down


def _links(ids: NDArray[np.uint8]) -> Iterator[NDArray[np.float64]]:
    """Yield segments (n, 2, 2) around each pixel corner that borders run through.

    Two edges: one segment from middle to middle. Three or four: one from each middle to the corner.
    """
    across, down = _edges(ids)
    at = {
        "left": np.pad(across, ((0, 0), (1, 0))),
        "right": np.pad(across, ((0, 0), (0, 1))),
        "up": np.pad(down, ((1, 0), (0, 0))),
        "down": np.pad(down, ((0, 1), (0, 0))),
    }
    degree = np.add.reduce([part.astype(np.uint8) for part in at.values()])
    for one, other in combinations(_WAYS, 2):
        corners = _points((degree == 2) & at[one] & at[other])
        yield np.stack([_middle(corners, one), _middle(corners, other)], axis=1)
    for way in _WAYS:
        corners = _points((degree > 2) & at[way])
        yield np.stack([corners, _middle(corners, way)], axis=1)


def _points(where: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.argwhere(where)[:, ::-1].astype(np.float64)


def _middle(corners: NDArray[np.float64], way: str) -> NDArray[np.float64]:
    return corners + np.array(_WAYS[way]) / 2


def _without_small_holes(polygon: "Polygon", least_area: float) -> "Polygon":
    import shapely

    holes = [ring for ring in polygon.interiors if shapely.Polygon(ring).area >= least_area]
    if len(holes) == len(polygon.interiors):
        return polygon
    return shapely.Polygon(polygon.exterior, holes)
