"""A small picture of a slide with everything marked that was found on it, for a contact sheet.

Each mark has a colour that colour-blind people tell from the others (Okabe & Ito 2008) and a
pattern of its own, so that none is known by its colour alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_vit.slides.quality.blur import BIN_CELLS, BLOCK_BINS, BLURRED
from wsi_vit.slides.quality.survey import Survey
from wsi_vit.slides.tissue.regions import inner_edge

CARD = "quality.png"
"""The card beside a slide's tiles."""
CARD_PX = 480
"""Longest side."""
COLOURS = {
    "tissue": "#009e73",
    "ink": "#e69f00",
    "out of focus": "#0072b2",
    "fold or very dense": "#cc79a7",
    "unreadable": "#d55e00",
}
"""What is marked, in the order it is drawn."""

Mark = Literal["ink", "out of focus", "fold or very dense", "unreadable"]
Lines = Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.bool_]]
_LINES: dict[Mark, Lines] = {
    "out of focus": lambda y, x: (y % 6 < 2) & (x >= 0),
    "fold or very dense": lambda y, x: (x - y) % 7 < 2,
    "ink": lambda y, x: (x + y) % 7 < 3,
    "unreadable": lambda y, x: ((x + y) % 9 < 2) | ((x - y) % 9 < 2),
}
"""Which pixels a mark paints, by row and column: its hatching."""


def draw_card(survey: Survey) -> NDArray[np.uint8]:
    """Return the slide, (h, w, 3), with tissue outlined and all else hatched."""
    pixels = survey.overview.pixels
    scale = min(1.0, CARD_PX / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    y, x = np.indices((size[1], size[0]))
    for mark, cells in _marks(survey).items():
        area = _shrunk(cells, size, 0.3)
        image.paste(COLOURS[mark], mask=Image.fromarray(area & _LINES[mark](y, x)))
        image.paste(COLOURS[mark], mask=Image.fromarray(inner_edge(area, 1)))
    tissue = _shrunk(survey.mask.is_tissue, size, 0.5)
    image.paste(COLOURS["tissue"], mask=Image.fromarray(inner_edge(tissue, 2)))
    return np.asarray(image)


def write_card(path: Path, card: NDArray[np.uint8]) -> None:
    """Write a card as PNG; the same card gives the same bytes."""
    Image.fromarray(card).save(path, "PNG", compress_level=6)


def swatch(mark: str, *, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return a sample of a mark, (height_px, width_px, 3), for a legend."""
    y, x = np.indices((height_px, width_px))
    drawn = np.ones((height_px, width_px), np.bool_)
    lines = _LINES.get(mark)  # type: ignore[arg-type]
    drawn[2:-2, 2:-2] = False if lines is None else lines(y, x)[2:-2, 2:-2]
    image = Image.new("RGB", (width_px, height_px), "#ffffff")
    image.paste(COLOURS[mark], mask=Image.fromarray(drawn))
    return np.asarray(image)


def _marks(survey: Survey) -> dict[Mark, NDArray[np.bool_]]:
    blur, is_tissue = survey.blur_blocks()
    blocks = is_tissue & (np.nan_to_num(blur) >= BLURRED)
    rows, columns = survey.mask.is_tissue.shape
    side = BIN_CELLS * BLOCK_BINS
    cells = blocks.repeat(side, axis=0).repeat(side, axis=1)[:rows, :columns]
    return {
        "out of focus": cells,
        "fold or very dense": survey.marks.is_dark,
        "ink": survey.mask.is_pen,
        "unreadable": survey.mask.is_unreadable,
    }


def _shrunk(cells: NDArray[np.bool_], size: tuple[int, int], least: float) -> NDArray[np.bool_]:
    """Return where at least this share of a mask's cells lies under a pixel."""
    shares = Image.fromarray(cells.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(shares) >= 255 * least
