"""Pictures side by side on one sheet: rows of cells, each with its own words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsi_vit.datasets.example import Example
from wsi_vit.labels import LabelMap
from wsi_vit.prediction.drawing import (
    INK,
    PAPER,
    Heading,
    LegendEntry,
    Panel,
    Picture,
    draw_sheet,
    font,
    overlay,
)
from wsi_vit.store import write_whole

_WORDS_PX, _GAP_PX = 28, 10


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture (RGB, of any size) and the words above it."""

    picture: Picture
    words: str = ""


def draw_grid(
    heading: Heading,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    legend: Sequence[LegendEntry],
    *,
    cell_px: int,
) -> Image.Image:
    """Return a sheet of rows below named columns; a picture is at most `cell_px` wide and high.

    A row is as high as its highest picture; words that do not fit are cut.
    """
    drawn = [_drawn_row(row, len(columns), cell_px) for row in rows]
    panels = [
        Panel(name, np.vstack([cells[column] for cells in drawn]))
        for column, name in enumerate(columns)
    ]
    return draw_sheet(heading, panels, legend)


def save_sheet(sheet: Image.Image, path: Path) -> Path:
    """Write a sheet as PNG, whole or not at all, and its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as scratch:
        sheet.save(scratch, "PNG")
    return path


def sized(picture: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return a picture (h, w, 3), or ids (h, w), with a longer side of `side_px`.

    Pictures are smoothed; ids are picked, never mixed.
    """
    scale = side_px / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    how = Image.Resampling.NEAREST if picture.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize(size, how))


def plain(example: Example, side_px: int) -> Picture:
    """Return an example's picture."""
    return sized(example.image, side_px)


def tinted(example: Example, labels: LabelMap, side_px: int) -> Picture:
    """Return an example's picture, tinted by its mask."""
    return overlay(plain(example, side_px), sized(example.target, side_px), labels)


def class_words(example: Example, labels: LabelMap) -> str:
    """Return the name of an example's class, or of the labels it shows; empty text for a mask."""
    if example.target.ndim == 1:
        shown = [
            name for name, value in zip(labels.names, example.target, strict=True) if value == 1
        ]
        return " + ".join(shown) or "none of them"
    if example.target.ndim:
        return ""
    known = int(example.target) < len(labels)
    return labels.names[int(example.target)] if known else "no class"


def _drawn_row(row: Sequence[Cell], columns: int, cell_px: int) -> list[Picture]:
    """Return the cells of a row, all of one size, words over pictures; what lacks is paper."""
    fitted = [_fitted(cell.picture, cell_px) for cell in row]
    words_px = _WORDS_PX if any(cell.words for cell in row) else 0
    size = cell_px, words_px + max(picture.height for picture in fitted) + _GAP_PX
    drawn = [Image.new("RGB", size, PAPER) for _ in range(columns)]
    for canvas, cell, picture in zip(drawn, row, fitted, strict=False):
        _write(canvas, cell.words)
        canvas.paste(picture, ((cell_px - picture.width) // 2, words_px))
    return [np.asarray(canvas) for canvas in drawn]


def _fitted(picture: Picture, side_px: int) -> Image.Image:
    fitted = Image.fromarray(picture)
    fitted.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return fitted


def _write(cell: Image.Image, words: str) -> None:
    room = cell.width - 8
    while words and font(18).getlength(words) > room:
        words = words[:-2] + "…"
    ImageDraw.Draw(cell).text((4, _WORDS_PX / 2), words, fill=INK, font=font(18), anchor="lm")
