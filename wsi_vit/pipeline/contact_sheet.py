"""All slides of a cohort on a few pages: what each looks like, what was found, what to look at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from wsi_vit.pipeline.sheets import save_sheet
from wsi_vit.prediction.drawing import FRAME, INK, PAPER, QUIET, Heading, cut_text, font
from wsi_vit.slides.quality.card import CARD_PX, COLOURS, swatch
from wsi_vit.slides.quality.report import SlideQuality

_ACROSS, _DOWN = 4, 4
"""Cards on a page."""
_PICTURE_HEIGHT = 340
_LINE = 26
_CELL = CARD_PX, _PICTURE_HEIGHT + 34 + 5 * _LINE + 16
_MARGIN, _GAP = 30, 26
_TOP = 150
_ALARM = "#b3400a"
"""Vermillion (Okabe & Ito), dark enough to be read on white."""


@dataclass(frozen=True, slots=True)
class Card:
    """One slide on a contact sheet."""

    slide_id: str
    quality: SlideQuality | None
    """None where the slide cannot be used."""
    picture: Path | None
    reasons: tuple[str, ...]
    """Why somebody should look at the slide, in words; empty where nothing speaks against it."""


def draw_sheets(cards: Sequence[Card], folder: Path, *, title: str) -> list[Path]:
    """Draw cards in their order on as many pages as they need; return the PNGs."""
    size = _ACROSS * _DOWN
    pages = [cards[start : start + size] for start in range(0, len(cards), size)]
    said = _said(cards)
    return [
        save_sheet(
            _page(page, Heading(f"{title}, page {number} of {len(pages)}", said)),
            folder / f"contact-sheet-{number:02}.png",
        )
        for number, page in enumerate(pages, start=1)
    ]


def _said(cards: Sequence[Card]) -> str:
    lost = sum(card.quality is None for card in cards)
    suspected = sum(bool(card.reasons) for card in cards) - lost
    told = [f"{len(cards)} slides", f"{suspected} suspected", f"{lost} that cannot be used"]
    return ", ".join(told) + "; those come first"


def _page(cards: Sequence[Card], heading: Heading) -> Image.Image:
    across, down = min(_ACROSS, len(cards)), -(-len(cards) // _ACROSS)
    width = max(across * (_CELL[0] + _GAP) - _GAP, 2 * (_CELL[0] + _GAP)) + 2 * _MARGIN
    page = Image.new("RGB", (width, _TOP + down * (_CELL[1] + _GAP) + _MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    room = width - 2 * _MARGIN
    pen.text((_MARGIN, 22), cut_text(heading.title, 28, room), fill=INK, font=font(28))
    pen.text((_MARGIN, 62), cut_text(heading.subtitle, 18, room), fill=QUIET, font=font(18))
    _write_legend(page, pen)
    for place, card in enumerate(cards):
        row, column = divmod(place, _ACROSS)
        corner = _MARGIN + column * (_CELL[0] + _GAP), _TOP + row * (_CELL[1] + _GAP)
        page.paste(_drawn(card), corner)
    return page


def _write_legend(page: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    x = float(_MARGIN)
    for mark in COLOURS:
        page.paste(Image.fromarray(swatch(mark, width_px=38, height_px=24)), (round(x), 98))
        pen.text((x + 46, 110), mark, fill=INK, font=font(18), anchor="lm")
        x += 46 + font(18).getlength(mark) + 28


def _drawn(card: Card) -> Image.Image:
    """Return one card: its name, its picture, its figures, and what speaks against it."""
    cell = Image.new("RGB", _CELL, PAPER)
    pen = ImageDraw.Draw(cell)
    width, height = _CELL
    pen.rectangle((0, 0, width - 1, height - 1), outline=_ALARM if card.reasons else FRAME, width=2)
    pen.text(
        (12, 18), cut_text(card.slide_id, 20, width - 24), fill=INK, font=font(20), anchor="lm"
    )
    _place_picture(cell, pen, card)
    y = _PICTURE_HEIGHT + 34 + _LINE / 2
    for line in _figures(card):
        pen.text((12, y), cut_text(line, 17, width - 24), fill=QUIET, font=font(17), anchor="lm")
        y += _LINE
    for line in _wrapped("; ".join(card.reasons), width - 24, 6 - len(_figures(card))):
        pen.text((12, y), line, fill=_ALARM, font=font(17), anchor="lm")
        y += _LINE
    return cell


def _place_picture(cell: Image.Image, pen: ImageDraw.ImageDraw, card: Card) -> None:
    """Put the picture into the middle of its room; where there is none, say so."""
    if card.picture is None:
        middle = _CELL[0] / 2, 34 + _PICTURE_HEIGHT / 2
        pen.text(middle, "no picture", fill=QUIET, font=font(20), anchor="mm")
        return
    with Image.open(card.picture) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((_CELL[0] - 16, _PICTURE_HEIGHT - 8), Image.Resampling.LANCZOS)
    corner = (_CELL[0] - picture.width) // 2, 36 + (_PICTURE_HEIGHT - picture.height) // 2
    cell.paste(picture, corner)


def _figures(card: Card) -> list[str]:
    quality = card.quality
    if quality is None:
        return []
    blur = "not measured" if quality.blur_share is None else f"{quality.blur_share:.1%}"
    outlined = ", outlined by hand" if quality.tissue_from == "outlined" else ""
    stain = quality.stain
    stained = f"H {stain.haematoxylin:.2f}  E {stain.eosin:.2f}" if stain else "no stain"
    return [
        f"tissue {quality.tissue_mm2:.4g} mm², {quality.tissue_share:.0%} of the slide{outlined}",
        f"out of focus {blur}, dense {quality.dark_share:.1%}, ink {quality.pen_mm2:.2g} mm²",
        f"{stained}  {quality.mpp:.4g} µm/px ({quality.mpp_source})",
    ]


def _wrapped(text: str, width: int, most: int) -> Iterator[str]:
    """Yield a text in at most so many lines; the last one is cut where it does not fit."""
    words, line, done = text.split(), "", 0
    while words:
        word = words.pop(0)
        longer = f"{line} {word}".strip()
        if done < most - 1 and line and font(17).getlength(longer) > width:
            yield line
            line, done = word, done + 1
        else:
            line = longer
    if line:
        yield cut_text(line, 17, width)
