"""The XML of ASAP: outlines that belong to groups, which may be part of groups."""

from collections.abc import Iterator

import numpy as np

from wsi_vit.slides.annotations.shapes import UNNAMED, Drawing, Ring, Shape, ring_of
from wsi_vit.slides.annotations.xml_stream import Attributes, number

_AREAS = ("polygon", "rectangle", "spline")


class AsapListener:
    """Gathers the outlines of an ASAP file; what its groups are part of stands at its end."""

    def __init__(self) -> None:
        self._drawing = Drawing()
        self._drawn: list[tuple[Attributes, Ring]] = []
        self._parents: dict[str, str] = {}
        self._annotation: Attributes | None = None
        """The one that is being read, where it has an area."""
        self._corners: list[tuple[float, float, float]] = []
        """Its corners, each as order, x, y."""

    def start(self, tag: str, attributes: Attributes) -> None:
        """Take a corner, begin an outline, or note a group."""
        if tag == "Coordinate" and self._annotation is not None:
            order, x, y = (number(attributes, name) for name in ("Order", "X", "Y"))
            self._corners.append((order, x, y))
        elif tag == "Annotation":
            self._begin(attributes)
        elif tag == "Group":
            self._parents[attributes.get("Name", "")] = attributes.get("PartOfGroup", "")

    def end(self, tag: str) -> None:
        """Finish an outline."""
        if tag != "Annotation" or self._annotation is None:
            return
        self._drawn.append((self._annotation, _ring(self._corners)))
        self._annotation = None

    def drawing(self) -> Drawing:
        """Return the outlines with their names: the group, those it is part of, then its own."""
        for annotation, ring in self._drawn:
            names = tuple(self._names(annotation)) or (UNNAMED,)
            self._drawing.shapes.append(Shape(names, (ring,)))
        return self._drawing

    def _begin(self, attributes: Attributes) -> None:
        kind = attributes.get("Type", "")
        if kind.casefold() in _AREAS:
            self._annotation, self._corners = attributes, []
        else:
            self._annotation = None
            self._drawing.skipped[f"ASAP {kind or 'annotation without a type'}"] += 1

    def _names(self, annotation: Attributes) -> Iterator[str]:
        seen = {"None", ""}
        group = annotation.get("PartOfGroup", "")
        while group not in seen:
            yield group
            seen.add(group)
            group = self._parents.get(group, "")
        if annotation.get("Name"):
            yield annotation["Name"]


def _ring(corners: list[tuple[float, float, float]]) -> Ring:
    if not corners:
        return np.empty((0, 2))
    table = np.array(corners)
    return ring_of(table[np.argsort(table[:, 0], kind="stable"), 1:])
