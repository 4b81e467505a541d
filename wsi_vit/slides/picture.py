"""A small picture of a slide with its tissue outlined and its tiles drawn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from wsi_vit.geometry import Region
from wsi_vit.slides.areas import boxes_of
from wsi_vit.slides.jpeg import encode_jpeg
from wsi_vit.slides.overview import read_overview
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.tissue import TissueMask

_LONGEST_PX = 1600
_TISSUE, _PEN, _TILE, _UNREADABLE = "#00c853", "#ffd600", "#2962ff", "#d50000"
_ROOM_BETWEEN_PX = 3
"""Tiles closer than this are drawn as a veil only: their outlines would hide the slide."""


def write_picture(path: Path, slide: Slide, mask: TissueMask, kept: Sequence[Region]) -> None:
    """Write a JPEG: tissue outlined green, pen yellow, unreadable red, kept tiles blue."""
    path.write_bytes(encode_jpeg(draw_picture(slide, mask, kept), 88))


def draw_picture(slide: Slide, mask: TissueMask, kept: Sequence[Region]) -> NDArray[np.uint8]:
    """Return that picture, (h, w, 3), at most 1600 px long."""
    scale = max(1.0, max(slide.size) / _LONGEST_PX)
    overview = read_overview(slide, scale * slide.mpp)
    image = Image.fromarray(_with_tiles(overview.pixels, kept, overview.base_px_per_cell))
    shape = overview.pixels.shape[:2]
    step = overview.base_px_per_cell / mask.base_px_per_cell
    for cells, colour in ((mask.is_tissue, _TISSUE), (mask.is_pen, _PEN)):
        image.paste(colour, mask=_outline(cells, shape, step))
    unreadable = _at(mask.is_unreadable, shape, step) | overview.is_unreadable
    image.paste(_UNREADABLE, mask=Image.fromarray(unreadable))
    return np.asarray(image)


def _with_tiles(
    pixels: NDArray[np.uint8], kept: Sequence[Region], scale: float
) -> NDArray[np.uint8]:
    """Draw the kept tiles: outlined where there is room, as a pale veil where there is none."""
    if not kept:
        return pixels
    base = Image.fromarray(pixels)
    boxes = np.floor(boxes_of(kept) / scale).astype(np.int64)
    if kept[0].width / scale <= 4 * _ROOM_BETWEEN_PX:
        veil = Image.new("RGB", base.size, _TILE)
        covered = Image.fromarray(_covered(boxes, pixels.shape[:2]))
        return np.asarray(Image.composite(Image.blend(base, veil, 0.25), base, covered))
    drawn = base.copy()
    pen = ImageDraw.Draw(drawn)
    for box in boxes.tolist():
        pen.rectangle(box, outline=_TILE)
    return np.asarray(Image.blend(base, drawn, 0.7))


def _covered(boxes: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of a picture lie in a box (left, top, right, bottom; ends included).

    By differences that are summed along both axes: the time does not grow with the boxes' area.
    """
    height, width = shape
    left, top, right, bottom = np.clip(boxes.T, 0, [[width], [height], [width - 1], [height - 1]])
    steps = np.zeros((height + 1, width + 1), np.int32)
    for down, across, step in (
        (top, left, 1),
        (top, right + 1, -1),
        (bottom + 1, left, -1),
        (bottom + 1, right + 1, 1),
    ):
        np.add.at(steps, (down, across), step)
    return steps.cumsum(axis=0).cumsum(axis=1)[:height, :width] > 0


def _outline(cells: NDArray[np.bool_], shape: tuple[int, int], step: float) -> Image.Image:
    """Return the inner edge of a mask's areas, two pixels wide, on the picture's grid."""
    large = _at(cells, shape, step)
    inside = ndimage.binary_erosion(large, iterations=2, border_value=1)
    return Image.fromarray(np.logical_and(large, np.logical_not(inside)))


def _at(cells: NDArray[np.bool_], shape: tuple[int, int], step: float) -> NDArray[np.bool_]:
    """Look a mask up under the centre of each pixel of the picture."""
    rows, columns = (
        np.minimum(((np.arange(length) + 0.5) * step).astype(np.int64), limit - 1)
        for length, limit in zip(shape, cells.shape, strict=True)
    )
    return cells[np.ix_(rows, columns)]
