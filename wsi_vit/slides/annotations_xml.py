"""Read the XML of ASAP and of Aperio ImageScope; entities and document types are refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wsi_vit.errors import AnnotationError
from wsi_vit.slides.annotations_shapes import UNNAMED, Drawing, Ring, Shape, ring_of

_ASAP_AREAS = ("polygon", "rectangle", "spline")
_ELLIPSE, _ARROW, _RULER = "2", "3", "4"
_ELLIPSE_CORNERS = 128


def read_xml(path: Path) -> Drawing:
    """Return the polygons of an ASAP or ImageScope file, in the order of the file.

    Raises:
        AnnotationError: The file is damaged, carries a document type or entities, is of another
            kind, or a position is not finite.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, parse

    try:
        root: Any = parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as error:
        raise AnnotationError(
            f"Refused XML annotations that carry {type(error).__name__.removesuffix('Forbidden')}",
            got=path,
            remedy="Delete the document type from the file; annotations need none",
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise AnnotationError(
            f"Damaged XML: {error}", got=path, remedy="Export the annotations again"
        ) from error
    if root.tag == "ASAP_Annotations":
        return _read_asap(root)
    if root.tag == "Annotations":
        return _read_imagescope(root)
    raise AnnotationError(
        "Unknown kind of XML annotations",
        got=f"<{root.tag}> in {path}",
        known=("<ASAP_Annotations> (ASAP)", "<Annotations> (Aperio ImageScope)"),
        remedy="Export them as one of these, or as GeoJSON from QuPath",
    )


def _read_asap(root: Any) -> Drawing:
    drawing = Drawing()
    parents: dict[str, str] = {
        group.get("Name"): group.get("PartOfGroup")
        for group in root.findall("AnnotationGroups/Group")
    }
    for annotation in root.findall("Annotations/Annotation"):
        kind = annotation.get("Type", "")
        if kind.casefold() not in _ASAP_AREAS:
            drawing.skipped[f"ASAP {kind or 'annotation without a type'}"] += 1
            continue
        corners = annotation.findall("Coordinates/Coordinate")
        corners.sort(key=lambda corner: _number(corner, "Order"))
        names = tuple(_asap_names(annotation, parents)) or (UNNAMED,)
        drawing.shapes.append(Shape(names, (_ring(corners),)))
    return drawing


def _asap_names(annotation: Any, parents: dict[str, str]) -> Iterator[str]:
    """Yield the annotation's group, the groups that one is part of, then its own name."""
    seen = {"None", ""}
    group: str = annotation.get("PartOfGroup", "")
    while group not in seen:
        yield group
        seen.add(group)
        group = parents.get(group) or ""
    if annotation.get("Name"):
        yield str(annotation.get("Name"))


def _read_imagescope(root: Any) -> Drawing:
    drawing = Drawing()
    for number, layer in enumerate(root.findall("Annotation")):
        for region in layer.findall("Regions/Region"):
            kind, vertices = region.get("Type"), region.findall("Vertices/Vertex")
            if kind in (_ARROW, _RULER) and len(vertices) < 3:
                drawing.skipped["ImageScope arrow or ruler"] += 1
                continue
            ring = _ring(vertices)
            drawing.shapes.append(
                Shape(
                    names=tuple(_layer_names(layer, region)),
                    rings=(_ellipse(ring) if kind == _ELLIPSE and len(ring) <= 4 else ring,),
                    layer=number,
                    is_hole=region.get("NegativeROA") == "1",
                )
            )
    return drawing


def _layer_names(layer: Any, region: Any) -> Iterator[str]:
    """Yield the names people give in ImageScope: the region's text, the layer's, its attributes."""
    attributes = layer.findall("Attributes/Attribute")
    given = [region.get("Text"), layer.get("Name"), *(item.get("Name") for item in attributes)]
    yield from (name for name in given if name and name.strip())
    yield f"layer {layer.get('Id', '?')}"
    yield UNNAMED


def _ellipse(corners: Ring) -> Ring:
    """Return the outline of an ellipse that ImageScope stores as corners of its bounding box."""
    if not len(corners):
        return corners
    low, high = corners.min(axis=0), corners.max(axis=0)
    turn = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return (low + high) / 2 + unit * (high - low) / 2


def _ring(corners: list[Any]) -> Ring:
    positions = [(_number(corner, "X"), _number(corner, "Y")) for corner in corners]
    return ring_of(positions) if positions else np.empty((0, 2))


def _number(corner: Any, name: str) -> float:
    text = corner.get(name)
    try:
        return float(str(text).replace(",", "."))  # some locales write a decimal comma
    except ValueError:
        raise AnnotationError(
            f"A position has no number as its {name}",
            got=text,
            remedy="Export the annotations again",
        ) from None
