"""Tissue that somebody outlined: it wins over the mask that is found.

A GeoJSON as QuPath writes it, in pixels of level 0. Outlines of the class `Tissue` (or of no class)
are the slide's tissue, all of it: what lies outside them is none, whatever was found there.
Outlines of the class `Ignore*` are taken out, of the outlined tissue or, where the file has none,
of the tissue that was found. `wsi-vit slides tissue` writes what is found as such a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import AnnotationError, Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.labels import LabelClass, LabelMap, fold
from wsi_vit.slides.annotations.geojson import read_geojson
from wsi_vit.slides.annotations.placing import place
from wsi_vit.slides.annotations.polygons import PolygonAnnotations
from wsi_vit.slides.annotations.shapes import CARVING, UNNAMED, Drawing, Shape
from wsi_vit.slides.tissue.mask import TissueMask
from wsi_vit.store import file_digest

TISSUE = "Tissue"
"""What outlined tissue is called."""
_KEPT = {fold(TISSUE), fold(UNNAMED)}
_REMOVED = {fold(name) for name in CARVING}
_REMEDY = (
    "Mend it in QuPath: outlines of the class Tissue are the slide's tissue, Ignore* is taken out. "
    "`wsi-vit slides tissue` writes the mask that is found as a file to start from"
)


@dataclass(frozen=True, slots=True)
class TissueOutlines:
    """What is tissue, and what is not, as somebody drew it."""

    kept: PolygonAnnotations | None
    """None: the tissue that was found."""
    removed: PolygonAnnotations | None

    def over(self, found: TissueMask) -> TissueMask:
        """Return a mask whose tissue is the outlined one; a cell counts by its centre.

        What could not be read stays unreadable; ink stays known, also where it is kept as tissue.
        """
        cells, cell = found.is_tissue.shape, found.base_px_per_cell
        is_tissue = found.is_tissue if self.kept is None else _drawn(self.kept, cells, cell)
        if self.removed is not None:
            is_tissue = is_tissue & ~_drawn(self.removed, cells, cell)
        return replace(found, is_tissue=is_tissue & ~found.is_unreadable)


def read_outlines(path: Path, slide_size: tuple[int, int]) -> TissueOutlines:
    """Read the outlined tissue of a slide of this size (width, height in base pixels).

    Raises:
        SlideError: BAD_TISSUE_MASK: there is no such file, it is no GeoJSON, or it holds no
            outline, outlines of other classes, or outlines beyond the slide only.
    """
    try:
        shapes = read_geojson(path).shapes
        _refuse_unknown(shapes, path)
        return TissueOutlines(
            _placed([s for s in shapes if fold(s.names[0]) in _KEPT], slide_size, path),
            _placed([s for s in shapes if fold(s.names[0]) in _REMOVED], slide_size, path),
        )
    except AnnotationError as error:
        raise _bad(path, error.what, got=error.got) from error
    except OSError as error:
        raise _bad(path, f"It cannot be read ({error.strerror})") from error


def _refuse_unknown(shapes: Sequence[Shape], path: Path) -> None:
    if not shapes:
        raise _bad(path, "It holds no outline")
    strangers = sorted({s.names[0] for s in shapes if fold(s.names[0]) not in _KEPT | _REMOVED})
    if strangers:
        raise _bad(path, f"It holds other classes than {TISSUE} and Ignore*", got=strangers)


def _placed(
    shapes: list[Shape], slide_size: tuple[int, int], path: Path
) -> PolygonAnnotations | None:
    """Return outlines repaired and clipped to the slide; None where there are none."""
    if not shapes:
        return None
    names = tuple(dict.fromkeys(str(fold(shape.names[0])) for shape in shapes))
    area = LabelClass(name="area", source=names, colour="#000000")
    drawing = Drawing(shapes=shapes)
    return place(drawing, slide_size=slide_size, labels=LabelMap(classes=(area,)), source=path)


def _drawn(area: PolygonAnnotations, cells: tuple[int, ...], cell: float) -> NDArray[np.bool_]:
    rows, columns = cells
    plane = Region(0, 0, columns * cell, rows * cell)
    return area.mask(plane, width_px=columns, height_px=rows, other=1) == 0


def _bad(path: Path, why: str, *, got: object = None) -> SlideError:
    told = path if got is None else f"{got} in {path}"
    return SlideError(
        Reason.BAD_TISSUE_MASK, f"The tissue mask cannot be used. {why}", got=told, remedy=_REMEDY
    )


def outlines_digest(path: Path) -> str:
    """Return the sha256 of a tissue mask's file.

    Raises:
        SlideError: BAD_TISSUE_MASK: it cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise _bad(path, f"It cannot be read ({error.strerror})") from error
