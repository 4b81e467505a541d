"""A small picture of a slide with its tissue outlined and its tiles drawn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsi_vit.geometry import Region
from wsi_vit.slides.areas import boxes_of
from wsi_vit.slides.jpeg.encoding import encode_jpeg
from wsi_vit.slides.overview import read_overview
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.tissue.mask import TissueMask
from wsi_vit.slides.tissue.regions import inner_edge

_LONGEST_PX = 1600
_TISSUE, _PEN, _TILE, _UNREADABLE = "#00c853", "#ffd600", "#2962ff", "#d50000"
_OUTLINE_PX = 2
_VEIL, _LINE = 64, 178
"""How opaque tiles are drawn, of 255."""
_ROOM_BETWEEN_PX = 3
"""Tiles closer than this are drawn as a veil only: their outlines would hide the slide."""


def write_picture(path: Path, slide: Slide, mask: TissueMask, kept: Sequence[Region]) -> None:
    """Write a JPEG: tissue outlined green, pen yellow, unreadable red, kept tiles blue."""
    path.write_bytes(encode_jpeg(draw_picture(slide, mask, kept), 88))


def draw_picture(slide: Slide, mask: TissueMask, kept: Sequence[Region]) -> NDArray[np.uint8]:
    """Return that picture, (h, w, 3), at most 1600 px long."""
    overview = read_overview(slide, _step(slide) * slide.mpp)
    image = Image.fromarray(overview.pixels)
    _draw_tiles(image, kept, overview.base_px_per_cell)
    shape = overview.pixels.shape[:2]
    step = overview.base_px_per_cell / mask.base_px_per_cell
    for cells, colour in ((mask.is_tissue, _TISSUE), (mask.is_pen, _PEN)):
        edge = inner_edge(_at(cells, shape, step), _OUTLINE_PX)
        image.paste(colour, mask=Image.fromarray(edge))
    unreadable = _at(mask.is_unreadable, shape, step) | overview.is_unreadable
    image.paste(_UNREADABLE, mask=Image.fromarray(unreadable))
    return np.asarray(image)


def _step(slide: Slide) -> float:
    """Return base pixels per pixel of the picture.

    A resolution that needs no resampling is taken where one gives at least half of the length:
    what is resampled takes longer to draw than a small slide takes to be cut.
    """
    least = max(1.0, max(slide.size) / _LONGEST_PX)
    steps = (plane.downsample for plane in slide.planes)
    return min((step for step in steps if least <= step <= 2 * least), default=least)


def _draw_tiles(image: Image.Image, kept: Sequence[Region], scale: float) -> None:
    """Draw the kept tiles: outlined where there is room, as a pale veil where there is none."""
    if not kept:
        return
    boxes = np.floor(boxes_of(kept).clip(min=0) / scale).astype(np.int64).tolist()
    veil = np.zeros((image.height, image.width), np.uint8)
    if kept[0].width / scale <= 4 * _ROOM_BETWEEN_PX:
        for left, top, right, bottom in boxes:
            veil[top : bottom + 1, left : right + 1] = _VEIL
        image.paste(_TILE, mask=Image.fromarray(veil))
        return
    lines = Image.fromarray(veil)
    pen = ImageDraw.Draw(lines)
    for box in boxes:
        pen.rectangle(box, outline=_LINE)
    image.paste(_TILE, mask=lines)


def _at(cells: NDArray[np.bool_], shape: tuple[int, int], step: float) -> NDArray[np.bool_]:
    """Look a mask up under the centre of each pixel of the picture."""
    rows, columns = (
        np.minimum(((np.arange(length) + 0.5) * step).astype(np.int64), limit - 1)
        for length, limit in zip(shape, cells.shape, strict=True)
    )
    return cells.take(rows, axis=0).take(columns, axis=1)
