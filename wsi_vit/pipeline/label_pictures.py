"""What a label map does to real masks, to be seen: a histogram, and samples before and after."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wsi_vit.datasets.decoding import decode_image
from wsi_vit.datasets.image_targets import TargetReader
from wsi_vit.datasets.images import SourceIds
from wsi_vit.datasets.mask_census import Census, LabelledImage, meant_by, name_of
from wsi_vit.evaluation.style import INK, QUIET, new_figure, panel, quiet, save
from wsi_vit.labels import IGNORE_ID, LabelClass, LabelMap
from wsi_vit.pipeline.sheets import Cell, draw_grid, save_sheet, sized
from wsi_vit.prediction.drawing import Heading, Picture, class_legend, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELL_PX = 440
_MOST_BARS = 24
_GREY = "#c4c9cf"
_PLAIN = ("#b8bec5", "#8f969e", "#d0c9be", "#a8b5b0", "#c2b5c0", "#7d858d", "#dadde0", "#a39a8e")
"""Quiet colours of source ids that no class gathers, so that the classes stand out."""


@dataclass(frozen=True, slots=True)
class _Bar:
    """One line of a histogram."""

    name: str
    share: float
    told: str
    colour: str


def draw_histogram(census: Census, labels: LabelMap, path: Path) -> Path:
    """Draw how many pixels each source id has and what it becomes, above the classes after."""
    before, after = _before(census, labels), _after(census, labels)
    heights = [len(before) + 1.0, len(after) + 1.0]
    figure = new_figure(width_in=9, height_in=0.9 + 0.32 * sum(heights))
    axes = panel(figure, 2, 1)
    axes[0, 0].get_gridspec().set_height_ratios(heights)
    _draw_bars(axes[0, 0], before)
    quiet(axes[0, 0], title=f"Before: source ids, share of all pixels ({census.masks} masks)")
    _draw_bars(axes[1, 0], after)
    ignored = _percent(census.ignored_share) if census.ignored_share else "nothing"
    quiet(axes[1, 0], title=f"After: classes, share of what counts ({ignored} is ignored)")
    return save(figure, path)


def _before(census: Census, labels: LabelMap) -> list[_Bar]:
    """Return the ids that classes gather, the largest of the others, and the rest as one."""
    tints = _tints(labels)
    by_size = sorted(census.sources, key=lambda row: -row.pixels)
    foreground = [row for row in by_size if row.becomes in tints]
    others = [row for row in by_size if row.becomes not in tints]
    room = max(_MOST_BARS - len(foreground), 4)
    shown = sorted([*foreground, *others[:room]], key=lambda row: -row.pixels)
    bars = [
        _Bar(
            f"{row.source_id} {row.name}".strip(),
            row.share,
            f"{_percent(row.share)}  → {row.becomes}",
            tints.get(row.becomes, _GREY),
        )
        for row in shown
    ]
    rest = others[room:]
    if rest:
        share, words = sum(row.share for row in rest), {row.becomes for row in rest}
        told = f"{_percent(share)}  → {' or '.join(sorted(words))}"
        bars.append(_Bar(f"{len(rest)} more ids", share, told, _GREY))
    return bars


def _after(census: Census, labels: LabelMap) -> list[_Bar]:
    tints = _tints(labels)
    return [
        _Bar(
            f"{row.export_id} {row.name}",
            row.share,
            f"{_percent(row.share)}  in {row.masks} masks" if row.pixels else "in no mask",
            tints.get(row.name, _GREY),
        )
        for row in census.classes
    ]


def _tints(labels: LabelMap) -> dict[str, str]:
    """Return the colours of the classes, without the background's: that is grey, as in pictures."""
    return {item.name: item.colour for item in labels.classes if item.name != labels.background}


def _draw_bars(axes: "Axes", bars: Sequence[_Bar]) -> None:
    places = range(len(bars))
    shares = [bar.share for bar in bars]
    colours = [bar.colour for bar in bars]
    axes.barh(places, shares, color=colours, edgecolor=QUIET, linewidth=0.6, height=0.72)
    axes.set_yticks(places, [bar.name for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    widest = max(shares, default=0.0) or 1.0
    axes.set_xlim(0, 1.5 * widest)
    axes.set_xticks([])
    for place, bar in enumerate(bars):
        axes.text(bar.share + 0.012 * widest, place, bar.told, va="center", fontsize=10, color=INK)
    axes.spines["bottom"].set_visible(False)


def draw_samples(
    images: Sequence[LabelledImage], census: Census, reader: TargetReader, path: Path
) -> Path | None:
    """Draw the masks that show most classes: as the source has them, and as they are learnt.

    Returns:
        The PNG, with the image beside each mask that has one; None where no mask could be read.
    """
    telling = set(census.telling)
    chosen = {item.relative: item for item in images if item.relative in telling}
    picked = [chosen[name] for name in census.telling]
    if not picked:
        return None
    masks = [item.source_ids() for item in picked]
    pictures = [_picture_of(item) for item in picked]
    source = _source_map(masks, reader)
    pairs = zip(picked, masks, pictures, strict=True)
    rows = [
        [
            Cell(drawn, item.relative if column == 0 else "")
            for column, drawn in enumerate(_before_and_after(mask, picture, source, reader))
        ]
        for item, mask, picture in pairs
    ]
    columns = ["source ids", "classes that are learnt"]
    sheet = draw_grid(
        Heading("What the label map makes of the masks", _said(reader.labels)),
        columns if pictures[0] is None else ["image", *columns],
        rows,
        class_legend(reader.labels, _notes(census)),
        cell_px=_CELL_PX,
    )
    return save_sheet(sheet, path)


def _before_and_after(
    ids: SourceIds, picture: Picture | None, source: LabelMap, reader: TargetReader
) -> list[Picture]:
    numbered = sized(source.narrow(ids, other=IGNORE_ID), _CELL_PX)
    learnt = sized(reader.mask(ids), _CELL_PX)
    before = overlay(source.paint(numbered), numbered, source)
    if picture is None:
        return [before, overlay(reader.labels.paint(learnt), learnt, reader.labels)]
    image = sized(picture, _CELL_PX)
    return [image, before, overlay(image, learnt, reader.labels)]


def _picture_of(item: LabelledImage) -> Picture | None:
    read = getattr(item, "image_bytes", None)
    return None if read is None else decode_image(read(), name=item.relative)


def _source_map(masks: Sequence[SourceIds], reader: TargetReader) -> LabelMap:
    """Return a map of the source ids shown: a class's own colour where one gathers the id."""
    found = sorted({int(n) for mask in masks for n in np.unique(mask) if 0 <= n <= 65535})
    found = [number for number in found if number not in _unseen(reader)][:255]
    classes = [
        # Nothing is exported with this map, so ids beyond 254 may be written in the picture.
        LabelClass.model_construct(
            name=f"{number} {name_of(number, reader)}".strip(),
            source=(number,),
            export_id=number,
            colour=_colour_of(number, reader),
        )
        for number in found
    ]
    return LabelMap(classes=tuple(classes))


def _unseen(reader: TargetReader) -> set[int]:
    return {IGNORE_ID} if meant_by(IGNORE_ID, reader) == IGNORE_ID else set()


def _colour_of(number: int, reader: TargetReader) -> str:
    owner = reader.labels.id_of_source(number)
    if owner is None or owner == reader.labels.background_id:
        return _PLAIN[number % len(_PLAIN)]
    return reader.labels.classes[owner].colour


def _said(labels: LabelMap) -> str:
    others = "what no class gathers" if labels.background is None else "all that is background"
    return f"Among the source ids, {others} is grey; faded pixels are ignored"


def _notes(census: Census) -> list[str]:
    return [
        _gathered(census, row.gathered) if row.pixels else "in no mask" for row in census.classes
    ]


def _gathered(census: Census, numbers: Sequence[int]) -> str:
    if len(numbers) > 3:
        return f"from {len(numbers)} ids"
    names = {row.source_id: row.name for row in census.sources}
    return "from " + ", ".join(f"{number} {names[number]}".strip() for number in numbers)


def _percent(share: float) -> str:
    return f"{share:.2%}" if share < 0.1 else f"{share:.1%}"
