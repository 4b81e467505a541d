"""Outlines on a slide: repaired, clipped to it, measured exactly and drawn exactly.

Where outlines overlap, the smaller one counts: a gland drawn inside a tumour is the gland's class,
in whatever order the two were drawn. Of two of equal area the later one counts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import AnnotationError
from wsi_vit.geometry import Region
from wsi_vit.labels import LabelMap
from wsi_vit.slides.annotations_pieces import Geometries, areas_of, only_areas, uncovered
from wsi_vit.slides.annotations_scanline import EdgeTable, edge_table, fill
from wsi_vit.slides.annotations_shapes import CARVING, UNNAMED, Drawing, Ring, Shape

_CARVED = -1
"""Class of an area taken out of every annotation."""

_SEEN_SHARE = 1e-3
"""Parts outside the slide are worth a note beyond this share of an outline."""


@dataclass(frozen=True, slots=True)
class PolygonAnnotations:
    """Outlines of known classes, the largest first."""

    polygons: Geometries
    """Whole, valid and inside the slide; shape (n,)."""
    classes: NDArray[np.int64]
    """Training ids, shape (n,); -1 for areas taken out."""
    class_count: int
    notes: tuple[str, ...]
    _pieces: Geometries = field(init=False, repr=False)
    """What is seen of the outlines of known classes, in pieces that do not overlap."""
    _piece_classes: NDArray[np.int64] = field(init=False, repr=False)
    _piece_tree: Any = field(init=False, repr=False)
    _tree: Any = field(init=False, repr=False)
    _edges: EdgeTable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import shapely

        pieces, owner = uncovered(self.polygons)
        known = self.classes[owner] != _CARVED
        object.__setattr__(self, "_pieces", pieces[known])
        object.__setattr__(self, "_piece_classes", self.classes[owner[known]])
        object.__setattr__(self, "_piece_tree", shapely.STRtree(pieces[known]))
        object.__setattr__(self, "_tree", shapely.STRtree(self.polygons))
        object.__setattr__(self, "_edges", edge_table(self.polygons))

    def coverage(self, regions: Sequence[Region]) -> NDArray[np.float64]:
        """Return the exact share of each region covered by each class, shape (n, classes)."""
        import shapely

        if not regions:
            return np.zeros((0, self.class_count))
        boxes = shapely.box(*np.array([[r.x, r.y, r.right, r.bottom] for r in regions]).T)
        which, piece = self._piece_tree.query(boxes)
        common = shapely.area(shapely.intersection(self._pieces[piece], boxes[which]))
        area = np.array([r.width * r.height for r in regions])
        at = which * self.class_count + self._piece_classes[piece]
        total = np.bincount(
            at, weights=common / area[which], minlength=len(regions) * self.class_count
        )
        return total.reshape(len(regions), self.class_count).clip(0.0, 1.0)

    def mask(
        self, region: Region, *, width_px: int, height_px: int, other: int
    ) -> NDArray[np.uint8]:
        """Return the training id at each pixel's centre, shape (height_px, width_px)."""
        import shapely

        picture = np.full((height_px, width_px), other, np.uint8)
        box = shapely.box(region.x, region.y, region.right, region.bottom)
        for index in np.sort(self._tree.query(box)):  # the largest first
            known = self.classes[index] != _CARVED
            value = int(self.classes[index]) if known else other
            fill(picture, self._edges[index], region, value=value)
        return picture


def place(
    drawing: Drawing, *, slide_size: tuple[int, int], labels: LabelMap, source: object
) -> PolygonAnnotations:
    """Return the outlines of known classes, repaired and clipped to the slide.

    Args:
        drawing: What was read.
        slide_size: Width and height of the slide in base pixels.
        labels: Names the classes.
        source: The file, for messages.

    Raises:
        AnnotationError: Nothing usable is left: no outlines, unknown classes only, or all of them
            outside the slide.
    """
    import shapely

    if not drawing.shapes:
        raise _no_shapes(drawing, source)
    classes = np.array([_class_of(shape, labels) for shape in drawing.shapes])
    unknown = Counter(
        shape.names[0]
        for shape, index in zip(drawing.shapes, classes, strict=True)
        if index is None
    )
    kept = [index is not None for index in classes]
    shapes = [shape for shape, keep in zip(drawing.shapes, kept, strict=True) if keep]
    if not any(index not in (None, _CARVED) for index in classes):
        raise _no_known_class(unknown, labels, source)
    notes = [
        f"{count} x {kind} left out: it has no area" for kind, count in drawing.skipped.items()
    ]
    notes += [_unknown_note(name, count, labels) for name, count in unknown.items()]
    geometries, more = _repaired(shapes)
    geometries = _cut_holes(geometries, shapes)
    inside, clipped = _clipped(geometries, slide_size, source)
    ids = np.array([index for index in classes if index is not None], np.int64)
    order = np.argsort(-shapely.area(inside), kind="stable")
    order = order[shapely.area(inside[order]) > 0]
    return PolygonAnnotations(
        polygons=inside[order],
        classes=ids[order],
        class_count=len(labels),
        notes=tuple(notes + more + clipped),
    )


def _no_shapes(drawing: Drawing, source: object) -> AnnotationError:
    found = ", ".join(f"{count} x {kind}" for kind, count in drawing.skipped.items())
    return AnnotationError(
        "The annotations hold no outline",
        got=f"{source} ({found or 'nothing at all'})",
        remedy="Outline areas (polygons); points and lines have no area",
    )


def _class_of(shape: Shape, labels: LabelMap) -> int | None:
    known = (labels.id_of_source(name) for name in shape.names)
    index = next((index for index in known if index is not None), None)
    if index is None and shape.names[0].strip().casefold() in CARVING:
        return _CARVED
    return index


def _all_sources(labels: LabelMap) -> list[str]:
    return [str(source) for item in labels.classes for source in item.sources]


def _unknown_note(name: str, count: int, labels: LabelMap) -> str:
    near = get_close_matches(name, _all_sources(labels), n=2)
    hint = f"; near names: {', '.join(near)}" if near else ""
    return f"{count} x class {name!r} left out: the label map does not know it{hint}"


def _no_known_class(unknown: Counter[str], labels: LabelMap, source: object) -> AnnotationError:
    names = ", ".join(f"{name!r} ({count})" for name, count in unknown.most_common(12))
    hint = f"; name it in a class's source as {UNNAMED!r}" if UNNAMED in unknown else ""
    return AnnotationError(
        f"The label map knows none of the classes of {source}",
        got=names or "only areas to be ignored",
        known=_all_sources(labels),
        remedy=f"Add these names to the sources of a class{hint}",
    )


def _repaired(shapes: list[Shape]) -> tuple[Geometries, list[str]]:
    """Return one valid polygon (or multipolygon, perhaps empty) a shape, with notes."""
    import shapely

    raw = [_polygon(shape) for shape in shapes]
    geometries = np.array(raw, dtype=object)
    flat = sum(item.is_empty for item in raw)
    invalid = ~shapely.is_valid(geometries)
    mended = shapely.make_valid(geometries[invalid], method="structure", keep_collapsed=False)
    geometries[invalid] = [areas_of(item) for item in mended]
    notes = []
    if invalid.any():
        notes.append(f"{int(invalid.sum())} outlines crossed themselves and were repaired")
    if flat:
        notes.append(f"{flat} outlines of fewer than three corners left out")
    return geometries, notes


def _polygon(shape: Shape) -> Any:
    import shapely

    outline, *holes = shape.rings
    if _corners(outline) < 3:
        return shapely.Polygon()
    return shapely.Polygon(outline, [hole for hole in holes if _corners(hole) >= 3])


def _corners(ring: Ring) -> int:
    """Count different corners; a long ring is not looked through."""
    return len(ring) if len(ring) > 8 else len({tuple(corner) for corner in ring.tolist()})


def _cut_holes(geometries: Geometries, shapes: list[Shape]) -> Geometries:
    """Take negative outlines out of the others of their layer, and empty them."""
    import shapely

    layers = np.array([shape.layer for shape in shapes])
    holes = np.array([shape.is_hole for shape in shapes])
    for layer in np.unique(layers[holes]):
        solid = (layers == layer) & ~holes
        hole = shapely.union_all(geometries[(layers == layer) & holes])
        geometries[solid] = shapely.difference(geometries[solid], hole)
    geometries[holes] = shapely.Polygon()
    return geometries


def _clipped(
    geometries: Geometries, slide_size: tuple[int, int], source: object
) -> tuple[Geometries, list[str]]:
    import shapely

    before = shapely.area(geometries)
    inside = shapely.intersection(geometries, shapely.box(0, 0, *slide_size))
    inside = only_areas(inside)
    after = shapely.area(inside)
    if not (after > 0).any():
        raise _all_outside(geometries, slide_size, source)
    gone = (before > 0) & (after == 0)
    cut = (after > 0) & (before - after > _SEEN_SHARE * before)
    notes = []
    if gone.any():
        notes.append(f"{int(gone.sum())} outlines lie wholly outside the slide and were left out")
    if cut.any():
        share = 100 * (1 - after[cut].sum() / before[cut].sum())
        notes.append(f"{int(cut.sum())} outlines reach beyond the slide; {share:.0f} % was cut off")
    return inside, notes


def _all_outside(
    geometries: Geometries, slide_size: tuple[int, int], source: object
) -> AnnotationError:
    import shapely

    width, height = slide_size
    left, top, right, bottom = shapely.total_bounds(geometries)
    if not np.isfinite(left):
        return AnnotationError(
            "No outline encloses an area", got=source, remedy="Draw the outlines again"
        )
    swapped = 0 <= top < width and 0 <= left < height and bottom <= width and right <= height
    hint = (
        "They fit with x and y swapped: write [x, y], not [row, column]"
        if swapped
        else "They belong to another slide, or count from another corner: positions are pixels of "
        "the full level 0, from its top left"
    )
    return AnnotationError(
        "Every outline lies outside the slide",
        got=f"x {left:.0f} to {right:.0f}, y {top:.0f} to {bottom:.0f}, in {source}; the slide is "
        f"{width} x {height}",
        remedy=hint,
    )
