"""Figures that can be read without knowing the method: the picture beside the map, with its scale.

Colours are cividis (Nuñez, Anderton & Renslow, PLOS ONE 2018): even to the eye in lightness, and
the same to eyes that do not tell red from green. Below it the tissue is grey, so that no stain is
taken for a value, and a line goes around the highest tenth, which needs no colour at all.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from wsi_vit.prediction.drawing import (
    FRAME,
    INK,
    PAPER,
    QUIET,
    Heading,
    LegendEntry,
    Panel,
    Picture,
    draw_sheet,
    font,
)

Values = NDArray[np.float32]
"""A map, shape (height, width); NaN where there is nothing."""

_COLOURS = "cividis"
_FAINT, _STRONG = 0.32, 0.82
"""How much of the colour is mixed in at 0 and at the top: tissue shows where nothing was seen."""
_CONTRAST, _PALE = 0.7, 235
"""How much of the tissue's lightness stays, and what the rest of it is."""
_SMOOTHED = 110
"""The line follows the map under a Gaussian of so small a part of its shorter side."""
_LEAST_OUTLINED = 0.002
"""Share of the picture below which a part of the highest tenth gets no line."""
_OUTLINED = 0.9
_MIDDLE = 160
"""How light the tissue is behind the colour bar."""
_MARGIN, _GAP = 28, 14
_BAR_PX = 18
_PART_PX = 190


def explained_sheet(
    heading: Heading,
    panels: Sequence[Panel],
    legend: Sequence[LegendEntry],
    *,
    top: float,
    words: str,
    um_per_px: float | None = None,
) -> Image.Image:
    """Return panels under a heading, the legend, and the colour bar from 0 to `top` with words."""
    sheet = draw_sheet(heading, panels, legend, um_per_px=um_per_px)
    taller = Image.new("RGB", (sheet.width, sheet.height + 62), PAPER)
    taller.paste(sheet, (0, 0))
    _draw_bar(taller, sheet.height - 8, top, words)
    return taller


def with_parts(sheet: Image.Image, panels: Sequence[Panel]) -> Image.Image:
    """Return a sheet with small panels below, one a head or a learned token."""
    width = sheet.width - 2 * _MARGIN
    columns = max(1, (width + _GAP) // (_PART_PX + _GAP))
    rows = math.ceil(len(panels) / columns)
    high = max(panel.picture.shape[0] for panel in panels)
    taller = Image.new("RGB", (sheet.width, sheet.height + rows * (high + 40) + _GAP), PAPER)
    taller.paste(sheet, (0, 0))
    pen = ImageDraw.Draw(taller)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * (_PART_PX + _GAP), sheet.height + row * (high + 40)
        pen.text((x, y), panel.caption, fill=QUIET, font=font(17))
        taller.paste(Image.fromarray(panel.picture), (x, y + 26))
    return taller


def painted(picture: Picture, values: Values, *, top: float) -> Picture:
    """Return a picture in grey under the colours of a map of its size; `top` is the last colour."""
    known = np.isfinite(values)
    shown = np.where(known, values, 0)
    grey = _grey(picture @ np.array([0.299, 0.587, 0.114]))
    mixed = np.repeat(grey[..., None], 3, axis=2)
    mixed[known] = _tinted(grey[known], shown[known] / top)
    mixed[_outline(shown, known)] = (255, 255, 255)
    return mixed.round().astype(np.uint8)


def part_panels(picture: Picture, parts: Values, name: str) -> list[Panel]:
    """Return a small panel for each part (parts, rows, columns) of a map, on its own scale."""
    height, width = picture.shape[:2]
    scale = _PART_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    return [
        Panel(f"{name} {number}", painted(small, enlarged(part, size), top=top_of(part)))
        for number, part in enumerate(parts, start=1)
    ]


def enlarged(values: Values, size: tuple[int, int]) -> Values:
    """Return a map (rows, columns) brought to (width, height), bilinearly."""
    smooth = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(smooth)


def relative(values: Values) -> Values:
    """Return a map (..., rows, columns) over the mean of its cells: 1 is an even share.

    A map that is 0 everywhere stays so.
    """
    mean = values.mean((-2, -1), keepdims=True)
    return np.divide(values, mean, out=np.zeros_like(values), where=mean > 0)


def top_of(values: Values) -> float:
    """Return where the colours end: what one value in two hundred exceeds."""
    known = values[np.isfinite(values)]
    top = float(np.quantile(known, 0.995)) if known.size else 0.0
    return top if top > 0 else 1.0


def colours(shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the colours of values 0 to 1, beyond which they stay the same; (..., 3), 0 to 255."""
    from matplotlib import colormaps

    return 255 * colormaps[_COLOURS](np.clip(shares, 0, 1))[..., :3]


def _outline(values: Values, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a line around the highest tenth of the known values, as wide as shows at any size."""
    if not known.any() or values[known].min() == values[known].max():
        return np.zeros(values.shape, bool)
    label: Any = ndimage.label
    smooth = ndimage.gaussian_filter(values, min(values.shape) / _SMOOTHED)
    inside = known & (smooth > np.quantile(smooth[known], _OUTLINED))
    parts, count = label(inside)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    inside &= (sizes >= _LEAST_OUTLINED * values.size)[parts]
    wide = max(1, min(values.shape) // 260)
    inner: NDArray[np.bool_] = np.asarray(
        ndimage.binary_erosion(inside, iterations=wide, border_value=1), bool
    )
    return inside & ~inner


def _tinted(grey: NDArray[np.floating], shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return grey (N,) under the colours of shares (N,), (N, 3)."""
    tint = (_FAINT + (_STRONG - _FAINT) * np.clip(shares, 0, 1))[:, None]
    return (1 - tint) * grey[:, None] + tint * colours(shares)


def _grey(lightness: Any) -> Any:
    return _CONTRAST * lightness + (1 - _CONTRAST) * _PALE


def _draw_bar(sheet: Image.Image, y: int, top: float, words: str) -> None:
    """Draw the colours from 0 to top, with what 0, an even share and the end are."""
    width = min(420, sheet.width - 2 * _MARGIN)
    line = _tinted(np.full(width, _grey(_MIDDLE)), np.linspace(0, 1, width))
    strip = np.repeat(line[None], _BAR_PX, axis=0)
    sheet.paste(Image.fromarray(strip.round().astype(np.uint8)), (_MARGIN, y))
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((_MARGIN - 1, y - 1, _MARGIN + width, y + _BAR_PX), outline=FRAME)
    marks = [(0.0, "0"), (1.0, "1"), (top, f"≥ {top:.2g}")]
    for value, text in marks:
        x = _MARGIN + width * value / top
        if value in (0.0, top) or 24 < x - _MARGIN < width - 60:
            pen.line((x, y + _BAR_PX, x, y + _BAR_PX + 5), fill=INK)
            anchor = "lt" if value == 0 else "rt" if value == top else "mt"
            pen.text((x, y + _BAR_PX + 7), text, fill=INK, font=font(16), anchor=anchor)
    beside = _MARGIN + width + 16
    if beside + font(17).getlength(words) < sheet.width - _MARGIN:
        pen.text((beside, y + _BAR_PX / 2), words, fill=INK, font=font(17), anchor="lm")
    else:
        pen.text((_MARGIN, y + _BAR_PX + 26), words, fill=INK, font=font(17))
