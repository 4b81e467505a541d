"""Panels, legend and scale bar on one white sheet, drawn with Pillow: same input, same bytes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from wsi_vit.labels import IGNORE_ID, LabelMap

Picture = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""
Ids = NDArray[np.uint8]
"""Training ids, shape (height, width)."""

INK, QUIET, PAPER, FRAME = "#1a1f26", "#5b6570", "#ffffff", "#c9ced4"
_MARGIN, _GAP = 28, 20
_TINT = 0.5
_STEPS = (1, 2, 5)
_COARSE = 3
"""Where a class is widest is looked for on every third pixel."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture with the word above it."""

    caption: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of the legend: id, colour, name, and what else is to be said."""

    number: int | None
    colour: str
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """The words on top."""

    title: str
    subtitle: str = ""


def draw_sheet(
    heading: Heading,
    panels: Sequence[Panel],
    legend: Sequence[LegendEntry],
    *,
    um_per_px: float | None = None,
) -> Image.Image:
    """Return a sheet: heading, panels (side by side, or stacked where wide), legend below.

    A scale bar is drawn on the first panel where `um_per_px` is known.
    """
    height, width = panels[0].picture.shape[:2]
    stacked = width > 1.7 * height
    across = width if stacked else len(panels) * width + (len(panels) - 1) * _GAP
    inner = max(across, 460, *(math.ceil(_legend_width(entry)) for entry in legend))
    top = _MARGIN + (62 if heading.subtitle else 36)
    panel_step = height + 34 + _GAP
    down = panel_step * (len(panels) if stacked else 1)
    lines = _legend_lines(legend, inner)
    size = inner + 2 * _MARGIN, top + down + 34 * len(lines) + _MARGIN
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    _write_heading(pen, heading, inner)
    for index, panel in enumerate(panels):
        x = _MARGIN + (0 if stacked else index * (width + _GAP))
        y = top + (index * panel_step if stacked else 0)
        _place(sheet, pen, panel, (x, y))
    if um_per_px is not None:
        _scale_bar(sheet, (_MARGIN, top + 30, width, height), um_per_px)
    for row, line in enumerate(lines):
        _write_legend(pen, line, _MARGIN, top + down + 34 * row)
    return sheet


def class_legend(labels: LabelMap, notes: Sequence[str] = ()) -> list[LegendEntry]:
    """Return one entry a class, in training-id order, under its export id."""
    return [
        LegendEntry(
            labels.export_ids[index],
            item.colour,
            item.name,
            ", ".join(
                filter(
                    None,
                    [
                        notes[index] if notes else "",
                        "not tinted" if item.name == labels.background else "",
                    ],
                )
            ),
        )
        for index, item in enumerate(labels.classes)
    ]


def overlay(picture: Picture, ids: Ids, labels: LabelMap) -> Picture:
    """Return the picture tinted by class, each class outlined and its id written into it.

    What was not computed (255) is left as it is, faded; so is the background, unfaded. Ids are
    written where a class is widest, so that the map can be read without seeing its colours.
    """
    hidden = ids == IGNORE_ID
    quiet = hidden if labels.background_id is None else hidden | (ids == labels.background_id)
    tint = np.where(quiet, 0.0, _TINT).astype(np.float32)
    tint[_borders(ids) & ~quiet] = 1.0
    mixed = picture * (1 - tint[..., None]) + labels.paint(ids) * tint[..., None]
    mixed[hidden] = 255 - (255 - mixed[hidden]) * 0.55
    image = Image.fromarray(mixed.round().astype(np.uint8))
    _write_ids(image, np.where(quiet, IGNORE_ID, ids), labels)
    return np.asarray(image)


@lru_cache(maxsize=32)
def font(size: int) -> Any:
    """Return DejaVu Sans, which comes with matplotlib: the same on every machine, and it has µ."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf", round(0.9 * size))


def readable_on(colour: str) -> str:
    """Return black or white, whichever stands out from a colour (`#rrggbb`)."""
    red, green, blue = bytes.fromhex(colour[1:])
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


def _borders(ids: Ids) -> NDArray[np.bool_]:
    """Return the pixels beside another id, on a width that shows at any size."""
    reach = max(1, min(ids.shape) // 500)
    low = ndimage.minimum_filter(ids, size=2 * reach + 1)
    return (ids != low) | (ids != ndimage.maximum_filter(ids, size=2 * reach + 1))


def _write_ids(image: Image.Image, ids: Ids, labels: LabelMap) -> None:
    """Write each class's export id at its widest places, at most four of them."""
    pen = ImageDraw.Draw(image)
    radius = max(11, min(ids.shape) // 55)
    for class_id in np.unique(ids[ids != IGNORE_ID]).tolist():
        colour = labels.classes[class_id].colour
        for x, y in _widest(ids == class_id, radius):
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(box, fill=colour, outline=PAPER, width=2)
            pen.text(
                (x, y),
                str(labels.export_ids[class_id]),
                fill=readable_on(colour),
                font=font(round(1.15 * radius)),
                anchor="mm",
            )


def _widest(inside: NDArray[np.bool_], radius: int, most: int = 4) -> list[tuple[int, int]]:
    """Return up to `most` places, (x, y), with room for a disc; far from each other.

    Measured on every third pixel: a ninth of the work, and a disc is larger.
    """
    seen = inside[_COARSE // 2 :: _COARSE, _COARSE // 2 :: _COARSE]
    depth: Any = ndimage.distance_transform_edt(np.pad(seen, 1))
    depth = _COARSE * depth[1:-1, 1:-1]
    apart = max(inside.shape) / 4 / _COARSE
    rows, columns = np.ogrid[: seen.shape[0], : seen.shape[1]]
    found: list[tuple[int, int]] = []
    while len(found) < most and depth.max(initial=0) > (1.1 * radius if found else 0.5 * radius):
        y, x = divmod(int(depth.argmax()), seen.shape[1])
        found.append((x * _COARSE + _COARSE // 2, y * _COARSE + _COARSE // 2))
        depth[(rows - y) ** 2 + (columns - x) ** 2 < apart**2] = 0
    return found


def _place(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, panel: Panel, corner: tuple[int, int]
) -> None:
    x, y = corner
    height, width = panel.picture.shape[:2]
    pen.text((x, y), panel.caption, fill=QUIET, font=font(19))
    sheet.paste(Image.fromarray(panel.picture), (x, y + 30))
    pen.rectangle((x - 1, y + 29, x + width, y + 30 + height), outline=FRAME)


def _write_heading(pen: ImageDraw.ImageDraw, heading: Heading, width: int) -> None:
    pen.text((_MARGIN, _MARGIN - 6), cut_text(heading.title, 28, width), fill=INK, font=font(28))
    subtitle = cut_text(heading.subtitle, 18, width)
    pen.text((_MARGIN, _MARGIN + 32), subtitle, fill=QUIET, font=font(18))


def cut_text(text: str, size: int, width: int) -> str:
    """Shorten a line that does not fit in its middle: names tell apart by their ends."""
    if font(size).getlength(text) <= width:
        return text
    kept = len(text) - 1
    while kept and font(size).getlength(_without_middle(text, kept)) > width:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"


def _legend_lines(legend: Sequence[LegendEntry], width: int) -> list[list[LegendEntry]]:
    lines: list[list[LegendEntry]] = [[]]
    used = 0.0
    for entry in legend:
        needed = _legend_width(entry)
        if lines[-1] and used + needed > width:
            lines.append([])
            used = 0.0
        lines[-1].append(entry)
        used += needed
    return lines


def _legend_width(entry: LegendEntry) -> float:
    note = f"  {entry.note}" if entry.note else ""
    return 44 + font(19).getlength(entry.name) + font(17).getlength(note) + 30


def _write_legend(
    pen: ImageDraw.ImageDraw, line: Sequence[LegendEntry], left: float, top: int
) -> None:
    x = float(left)
    for entry in line:
        pen.rounded_rectangle((x, top, x + 34, top + 25), 4, fill=entry.colour, outline=QUIET)
        if entry.number is not None:
            spot = (x + 17, top + 12)
            ink = readable_on(entry.colour)
            pen.text(spot, str(entry.number), fill=ink, font=font(17), anchor="mm")
        pen.text((x + 44, top + 12), entry.name, fill=INK, font=font(19), anchor="lm")
        if entry.note:
            beside = x + 44 + font(19).getlength(entry.name)
            pen.text((beside, top + 12), f"  {entry.note}", fill=QUIET, font=font(17), anchor="lm")
        x += _legend_width(entry)


def _scale_bar(sheet: Image.Image, box: tuple[int, int, int, int], um_per_px: float) -> None:
    """Draw a bar of a round length, at most a quarter of the panel, at its lower left."""
    x, y, width, height = box
    length_um = round_length(width * um_per_px / 4)
    bar = length_um / um_per_px
    words = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    pen = ImageDraw.Draw(sheet, "RGBA")
    left, base = x + 22, y + height - 24
    room = max(bar, font(18).getlength(words)) + 20
    pen.rounded_rectangle(
        (left - 10, base - 36, left - 10 + room, base + 14), 5, fill=(255, 255, 255, 215)
    )
    pen.rectangle((left, base, left + bar, base + 5), fill=INK)
    pen.text((left, base - 31), words, fill=INK, font=font(18))


def round_length(most: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is at most this."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in _STEPS if step * power <= most * (1 + 1e-9)))
