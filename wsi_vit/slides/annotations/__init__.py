"""Annotations of a slide, read by content: QuPath GeoJSON, ASAP and ImageScope XML, label images.

All of them answer the same two questions in base pixels: what share of a region each class covers,
and which class lies at each pixel of a region. What could not be used is told in `notes`; a file
that holds nothing usable is an error, never an empty slide.
"""

from pathlib import Path

from wsi_vit.errors import AnnotationError
from wsi_vit.labels import LabelMap
from wsi_vit.slides.annotations.asap import AsapListener
from wsi_vit.slides.annotations.geojson import read_geojson
from wsi_vit.slides.annotations.imagescope import ImageScopeListener
from wsi_vit.slides.annotations.placing import place
from wsi_vit.slides.annotations.polygons import PolygonAnnotations
from wsi_vit.slides.annotations.raster import RasterAnnotations, read_raster
from wsi_vit.slides.annotations.shapes import UNNAMED, Annotations
from wsi_vit.slides.annotations.xml_stream import stream_xml

__all__ = [
    "UNNAMED",
    "Annotations",
    "PolygonAnnotations",
    "RasterAnnotations",
    "read_annotations",
]

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\xff\xfe<\0", "xml"),
    (b"\xfe\xff\0<", "xml"),
    (b"<", "xml"),
    (b"{", "geojson"),
    (b"[", "geojson"),
)

_XML = {"ASAP_Annotations": AsapListener, "Annotations": ImageScopeListener}
"""Who reads a file, by its outermost element."""


def read_annotations(path: Path, *, slide_size: tuple[int, int], labels: LabelMap) -> Annotations:
    """Read the annotations of one slide.

    Args:
        path: GeoJSON, ASAP or ImageScope XML in base pixels, or a PNG or TIFF label image over the
            whole slide; the content decides which, not the name.
        slide_size: Width and height of the slide in base pixels.
        labels: Which names or values are gathered in which class.

    Raises:
        AnnotationError: The file is missing, empty, damaged or dangerous, or nothing in it is
            usable: no outline, no known class, or all of it outside the slide.
    """
    kind = _kind_of(path)
    if kind in ("png", "tiff"):
        return read_raster(path, slide_size=slide_size, labels=labels, kind=kind)
    drawing = stream_xml(path, _XML) if kind == "xml" else read_geojson(path)
    return place(drawing, slide_size=slide_size, labels=labels, source=path)


def _kind_of(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise AnnotationError(
            f"Cannot open annotations ({error.strerror})", got=path, remedy="Check the path"
        ) from error
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, kind in _KINDS:
        if start.startswith(magic) or text.startswith(magic):
            return kind
    raise AnnotationError(
        "Annotations of an unknown kind" if text else "An empty annotation file",
        got=f"{path} (begins with {start[:12]!r})",
        known=("QuPath GeoJSON", "ASAP XML", "ImageScope XML", "PNG or TIFF label image"),
        remedy="Export the annotations as one of these",
    )
