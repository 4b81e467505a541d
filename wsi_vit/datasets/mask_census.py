"""What masks hold, before and after the label map: counted in one pass, proven by a round trip."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from wsi_vit.datasets.image_targets import TargetReader, counted
from wsi_vit.datasets.images import SourceIds
from wsi_vit.labels import IGNORE_ID
from wsi_vit.section import Section

_MOST_NAMED = 5
_EASILY_SEEN = 0.002
"""Share of a picture from which on a class can be seen in it."""
_SHOWN = 3


class LabelledImage(Protocol):
    """Whatever has source ids."""

    @property
    def relative(self) -> str:
        """How messages call it."""
        ...

    def source_ids(self) -> SourceIds:
        """Return the source ids (h, w).

        Raises:
            ValueError: They cannot be read, with a short reason.
        """
        ...


class SourceRow(Section):
    """One id of the source: how much there is of it, and what it becomes."""

    source_id: int
    name: str
    """As the source calls it; empty text where it has no names."""
    pixels: int
    share: float
    """Of all pixels."""
    masks: int
    """Masks that show it."""
    becomes: str
    """Name of the class, or `ignored`; of several labels an image also `none of the labels`."""
    listed: bool
    """Whether the label map names it, or the source declares it ignored."""


class ClassRow(Section):
    """One class after the label map."""

    export_id: int
    name: str
    colour: str
    pixels: int
    share: float
    """Of the pixels that count."""
    masks: int
    gathered: tuple[int, ...]
    """Source ids that were found and became it."""


class Census(Section):
    """What masks hold, before and after."""

    masks: int
    """Masks that could be read."""
    pixels: int
    sources: tuple[SourceRow, ...]
    """By id."""
    classes: tuple[ClassRow, ...]
    """In training-id order."""
    ignored_share: float
    """Share of all pixels that count nowhere."""
    wholly_ignored: tuple[str, ...]
    """Masks in which not one pixel counts."""
    unreadable: tuple[str, ...]
    """Masks that could not be read, each with its reason."""
    changed: int
    """Pixels that the round trip brought back as something else; 0 when all is well."""
    telling: tuple[str, ...]
    """Masks to look at: those that together show most classes, background last."""


@dataclass(slots=True)
class _Tally:
    """The running counts."""

    reader: TargetReader
    masks: int = 0
    changed: int = 0
    pixels: Counter[int] = field(default_factory=Counter[int])
    shown_in: Counter[int] = field(default_factory=Counter[int])
    classes_in: Counter[int] = field(default_factory=Counter[int])
    wholly_ignored: list[str] = field(default_factory=list[str])
    unreadable: list[str] = field(default_factory=list[str])
    well_shown: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    """Each mask with what covers enough of it to be seen: classes, and ids that are refused."""

    def add(self, name: str, ids: SourceIds) -> None:
        found = counted(ids)
        meant = {number: meant_by(number, self.reader) for number in found}
        self.masks += 1
        self.pixels.update(found)
        self.shown_in.update(list(found))
        classes = set(meant.values()) - {IGNORE_ID}
        self.classes_in.update(classes)
        if not classes:
            self.wholly_ignored.append(name)
        self.changed += _changed(ids, self.reader, meant)
        seen = [n for n, pixels in found.items() if pixels >= _EASILY_SEEN * ids.size]
        self.well_shown.append((name, frozenset(_worth_seeing(n, self.reader) for n in seen)))


def take_census(masks: Iterable[LabelledImage], reader: TargetReader) -> Census:
    """Count source ids and classes over masks, and take each mask there and back.

    The round trip: source ids -> training ids -> export ids -> training ids again, and each source
    id must have become what the label map's words say, worked out apart from the tables that do
    the pixels. What cannot be read is noted, and the rest goes on.
    """
    tally = _Tally(reader)
    for mask in masks:
        try:
            ids = mask.source_ids()
        except ValueError as error:
            tally.unreadable.append(f"{mask.relative}: its mask {error}")
            continue
        tally.add(mask.relative, ids)
    total = tally.pixels.total()
    sources = tuple(_source_row(number, tally, total) for number in sorted(tally.pixels))
    counting = sum(row.pixels for row in sources if row.becomes != "ignored")
    return Census(
        masks=tally.masks,
        pixels=total,
        sources=sources,
        classes=tuple(_class_row(i, tally, counting) for i in range(len(reader.labels))),
        ignored_share=1 - counting / total if total else 0.0,
        wholly_ignored=tuple(tally.wholly_ignored),
        unreadable=tuple(tally.unreadable),
        changed=tally.changed,
        telling=_telling(tally),
    )


def meant_by(number: int, reader: TargetReader) -> int:
    """Return the training id that a source id should become, told by the map's own words."""
    found = reader.labels.id_of_source(number)
    if number in reader.ignored or (number == IGNORE_ID and found is None):
        return IGNORE_ID
    if found is None and reader.source.unknown == "background":
        found = reader.labels.background_id
    return IGNORE_ID if found is None else found


def name_of(number: int, reader: TargetReader) -> str:
    """Return the source's own name of an id; empty text where it has none."""
    return next((name for name, listed in (reader.names or {}).items() if listed == number), "")


def some(items: Iterable[object]) -> str:
    """Return the first few of many, spelt out."""
    words = [str(item) for item in items]
    more = f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    return ", ".join(words[:_MOST_NAMED]) + more


def _changed(ids: SourceIds, reader: TargetReader, meant: Mapping[int, int]) -> int:
    """Count pixels that do not survive the way to export ids and back as what was meant."""
    narrowed = reader.mask(ids)
    back = np.full(256, IGNORE_ID, np.uint8)
    back[list(reader.labels.export_ids)] = np.arange(len(reader.labels))
    returned = back[reader.labels.export(narrowed)]
    wrong = returned != narrowed
    for number, expected in meant.items():
        wrong |= (ids == number) & (narrowed != expected)
    return int(wrong.sum())


def _worth_seeing(number: int, reader: TargetReader) -> int:
    """Return what an id is shown for: its class; itself (below 0) where it is refused."""
    refused = reader.source.unknown == "refuse" and not _is_listed(number, reader)
    return -1 - number if refused and number != IGNORE_ID else meant_by(number, reader)


def _is_listed(number: int, reader: TargetReader) -> bool:
    return number in reader.ignored or reader.labels.id_of_source(number) is not None


def _telling(tally: _Tally) -> tuple[str, ...]:
    """Return masks that add most classes to those before; background counts for little."""
    background, shown = {tally.reader.labels.background_id, IGNORE_ID}, set[int]()
    rest, chosen = list(tally.well_shown), list[str]()
    while rest and len(chosen) < _SHOWN:
        best = max(
            rest,
            key=lambda item: (len(item[1] - shown - background), len(item[1] - background)),
        )
        rest.remove(best)
        chosen.append(best[0])
        shown |= best[1]
    return tuple(chosen)


def _source_row(number: int, tally: _Tally, total: int) -> SourceRow:
    reader = tally.reader
    meant = meant_by(number, reader)
    return SourceRow(
        source_id=number,
        name=name_of(number, reader),
        pixels=tally.pixels[number],
        share=tally.pixels[number] / total,
        masks=tally.shown_in[number],
        becomes=_becomes(meant, number, reader),
        listed=_is_listed(number, reader),
    )


def _becomes(meant: int, number: int, reader: TargetReader) -> str:
    if meant != IGNORE_ID:
        return reader.labels.names[meant]
    shows_none = reader.task == "multi_label" and reader.source.unknown == "background"
    return "none of the labels" if shows_none and number not in reader.ignored else "ignored"


def _class_row(index: int, tally: _Tally, counting: int) -> ClassRow:
    labels = tally.reader.labels
    gathered = tuple(n for n in sorted(tally.pixels) if meant_by(n, tally.reader) == index)
    pixels = sum(tally.pixels[number] for number in gathered)
    return ClassRow(
        export_id=labels.export_ids[index],
        name=labels.names[index],
        colour=labels.classes[index].colour,
        pixels=pixels,
        share=pixels / counting if counting else 0.0,
        masks=tally.classes_in[index],
        gathered=gathered,
    )
