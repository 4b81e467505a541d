"""Outlines of a file on a slide: which class each is of, and which can be used."""

from collections import Counter
from difflib import get_close_matches

import numpy as np

from wsi_vit.errors import AnnotationError
from wsi_vit.labels import LabelMap
from wsi_vit.slides.annotations.pieces import Geometries
from wsi_vit.slides.annotations.polygons import CARVED, PolygonAnnotations
from wsi_vit.slides.annotations.repair import clipped, cut_negatives, repaired
from wsi_vit.slides.annotations.shapes import CARVING, UNNAMED, Drawing, Shape


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
    shapes, classes, unknown = _known(drawing.shapes, labels)
    if not any(index != CARVED for index in classes):
        raise _no_known_class(unknown, labels, source)
    notes = [
        f"{count} x {kind} left out: it has no area" for kind, count in drawing.skipped.items()
    ]
    notes += [_unknown_note(name, count, labels) for name, count in unknown.items()]
    geometries, mended = repaired(shapes)
    negative = cut_negatives(geometries, shapes)
    inside, cut = clipped(geometries, shapes, slide_size)
    areas = shapely.area(inside)
    if not (areas > 0).any():
        raise _all_outside(geometries, slide_size, source)
    order = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas > 0)]
    return PolygonAnnotations(
        polygons=inside[order],
        classes=np.array(classes, np.int64)[order],
        class_count=len(labels),
        notes=tuple(notes + mended + negative + cut),
    )


def _known(shapes: list[Shape], labels: LabelMap) -> tuple[list[Shape], list[int], Counter[str]]:
    """Return the shapes of known classes, their classes, and the names of the others."""
    found: dict[tuple[str, ...], int | None] = {}
    kept: list[Shape] = []
    classes: list[int] = []
    unknown: Counter[str] = Counter()
    for shape in shapes:
        if shape.names not in found:
            found[shape.names] = _class_of(shape, labels)
        index = found[shape.names]
        if index is None:
            unknown[shape.names[0]] += 1
        else:
            kept.append(shape)
            classes.append(index)
    return kept, classes, unknown


def _class_of(shape: Shape, labels: LabelMap) -> int | None:
    known = (labels.id_of_source(name) for name in shape.names)
    index = next((index for index in known if index is not None), None)
    if index is None and shape.names[0].strip().casefold() in CARVING:
        return CARVED
    return index


def _no_shapes(drawing: Drawing, source: object) -> AnnotationError:
    found = ", ".join(f"{count} x {kind}" for kind, count in drawing.skipped.items())
    return AnnotationError(
        "The annotations hold no outline",
        got=f"{source} ({found or 'nothing at all'})",
        remedy="Outline areas (polygons); points and lines have no area",
    )


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
