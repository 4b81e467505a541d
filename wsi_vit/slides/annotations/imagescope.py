"""The XML of Aperio ImageScope: layers of regions, some of which are negative."""

from collections.abc import Iterator

import numpy as np

from wsi_vit.slides.annotations.shapes import UNNAMED, Drawing, Ring, Shape, ring_of
from wsi_vit.slides.annotations.xml_stream import Attributes, number

_ELLIPSE, _ARROW, _RULER = "2", "3", "4"
_ELLIPSE_CORNERS = 128


class ImageScopeListener:
    """Gathers the regions of an ImageScope file; a negative one is a hole in its own layer."""

    def __init__(self) -> None:
        self._drawing = Drawing()
        self._layers = 0
        self._layer: Attributes = {}
        self._words: list[str] = []
        """Names of the attributes that the layer carries."""
        self._regions: list[tuple[Attributes, Ring]] = []
        self._region: Attributes | None = None
        """The one that is being read."""
        self._corners: list[tuple[float, float]] = []

    def start(self, tag: str, attributes: Attributes) -> None:
        """Take a corner, begin a region or a layer, or note what a layer is called."""
        if tag == "Vertex" and self._region is not None:
            self._corners.append((number(attributes, "X"), number(attributes, "Y")))
        elif tag == "Region":
            self._region, self._corners = attributes, []
        elif tag == "Annotation":
            self._layer, self._words, self._regions = attributes, [], []
        elif tag == "Attribute" and self._region is None:
            self._words.append(attributes.get("Name", ""))

    def end(self, tag: str) -> None:
        """Finish a region, or a layer with all its regions: only then all its names are known."""
        if tag == "Region" and self._region is not None:
            self._finish(self._region)
            self._region = None
        elif tag == "Annotation":
            for region, ring in self._regions:
                self._drawing.shapes.append(self._shape(region, ring))
            self._layers += 1
            self._regions = []

    def drawing(self) -> Drawing:
        """Return the regions of all layers, in the order of the file."""
        return self._drawing

    def _finish(self, region: Attributes) -> None:
        kind = region.get("Type")
        if kind in (_ARROW, _RULER) and len(self._corners) < 3:
            self._drawing.skipped["ImageScope arrow or ruler"] += 1
            return
        ring = ring_of(self._corners) if self._corners else np.empty((0, 2))
        is_box = kind == _ELLIPSE and 0 < len(ring) <= 4
        self._regions.append((region, _ellipse(ring) if is_box else ring))

    def _shape(self, region: Attributes, ring: Ring) -> Shape:
        return Shape(
            names=tuple(self._names(region)),
            rings=(ring,),
            layer=self._layers,
            is_hole=region.get("NegativeROA") == "1",
        )

    def _names(self, region: Attributes) -> Iterator[str]:
        """Yield the names people give: the region's text, the layer's, those of its attributes."""
        given = [region.get("Text", ""), self._layer.get("Name", ""), *self._words]
        yield from (name for name in given if name.strip())
        yield f"layer {self._layer.get('Id', '?')}"
        yield UNNAMED


def _ellipse(corners: Ring) -> Ring:
    """Return the outline of an ellipse that ImageScope stores as corners of its bounding box."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    turn = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return (low + high) / 2 + unit * (high - low) / 2
