"""The label map: the only place where class names meet ids and colours.

Training ids are 0..K-1 in the order of the classes. An *export id* is the number a class carries in
mask files and legends outside; it never enters a model or a metric. 255 is ignored everywhere.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from wsi_vit.errors import LabelError
from wsi_vit.section import Section

IGNORE_ID = 255
"""Pixels with this id count in no loss and no metric; neither does a label that is not known."""

Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]
"""An RGB colour, such as `#d55e00`."""


class LabelClass(Section):
    """One class: its name, what it gathers from the source, how it is shown and exported."""

    name: str = Field(min_length=1)
    source: tuple[str | Annotated[int, Field(ge=0, le=65535, strict=True)], ...] = ()
    """Names (annotations, folders) or ids (mask values) gathered here; empty: the name itself."""
    export_id: int | None = Field(default=None, ge=0, le=254)
    """Number written in exported masks; absent: the training id."""
    colour: Colour

    @property
    def sources(self) -> tuple[str | int, ...]:
        """What this class gathers from the source."""
        return self.source or (self.name,)


class LabelMap(Section):
    """Classes in training-id order; saved with every model."""

    classes: tuple[LabelClass, ...] = Field(min_length=1, max_length=255)
    background: str | None = None
    """The class that stands for "nothing of interest"; mean IoU leaves it out."""

    @model_validator(mode="after")
    def _no_ambiguity(self) -> "LabelMap":
        _refuse_repeats("class name", self.names)
        _refuse_repeats("export id", self.export_ids)
        _refuse_repeats("source", [fold(s) for c in self.classes for s in c.sources])
        if self.background is not None and self.background not in self.names:
            raise ValueError(f"background {self.background!r} is none of {', '.join(self.names)}")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names in training-id order."""
        return tuple(item.name for item in self.classes)

    @cached_property
    def export_ids(self) -> tuple[int, ...]:
        """Export ids in training-id order."""
        return tuple(
            index if item.export_id is None else item.export_id
            for index, item in enumerate(self.classes)
        )

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """Colours in training-id order, shape (classes, 3), RGB."""
        return np.array([list(bytes.fromhex(c.colour[1:])) for c in self.classes], np.uint8)

    @property
    def background_id(self) -> int | None:
        """Training id of the background class, if there is one."""
        return None if self.background is None else self.names.index(self.background)

    @cached_property
    def _by_source(self) -> Mapping[str | int, int]:
        return {fold(s): i for i, c in enumerate(self.classes) for s in c.sources}

    def __len__(self) -> int:
        return len(self.classes)

    def id_of(self, name: str) -> int:
        """Return the training id of a class name.

        Raises:
            LabelError: The name is not in the map; near names are listed.
        """
        if name in self.names:
            return self.names.index(name)
        near = get_close_matches(name, self.names) or self.names
        raise LabelError("Unknown class", got=name, known=near, remedy="Use one of these names")

    def id_of_source(self, source: str | int) -> int | None:
        """Return the training id that gathers a source name or id, None where none does.

        Names are compared without regard to case, surrounding blanks, `_` and `-`.
        """
        return self._by_source.get(fold(source))

    def resolved(self, names: Mapping[str, int]) -> "LabelMap":
        """Return the map with ids for the names that classes gather, by a source's own name list.

        Names are compared as in `id_of_source`. A background that gathers nothing by name stands
        for what no class gathers, so its own name need not be in the list.

        Raises:
            LabelError: The list lacks names or ids, or two classes gather one id; all at once.
        """
        listed = {fold(name): number for name, number in names.items()}
        asked = [(c.name, s) for c in self.classes for s in c.sources if not self._is_rest(c, s)]
        faults = [fault for word, source in asked if (fault := _lacking(word, source, listed))]
        faults = faults or list(_shared([(word, s, _number(s, listed)) for word, s in asked]))
        if faults:
            raise LabelError(
                f"{len(faults)} sources of the label map do not fit the source's name list",
                got="; ".join(faults),
                remedy="Name things as the source does, each in one class",
            )
        classes = [
            LabelClass(
                **item.model_dump(exclude={"source"}),
                source=tuple(dict.fromkeys(_number(source, listed) for source in item.sources)),
            )
            for item in self.classes
        ]
        return LabelMap(classes=tuple(classes), background=self.background)

    def _is_rest(self, item: LabelClass, source: str | int) -> bool:
        return item.name == self.background and not item.source and source == item.name

    def narrow(self, mask: NDArray[np.integer], *, other: int) -> NDArray[np.uint8]:
        """Translate a mask of source ids (H, W) to training ids; any other id becomes `other`.

        `other` is a training id (usually the background's) or `IGNORE_ID`; 255 stays ignored unless
        a class names it as its source.
        """
        ids = [source for source in self._by_source if isinstance(source, int)]
        table = np.full(max([255, *ids]) + 2, other, dtype=np.uint8)
        table[IGNORE_ID] = IGNORE_ID
        for source in ids:
            table[source] = self._by_source[source]
        if mask.dtype != np.uint8:  # ids below 0 or beyond the table all read its last entry
            last = len(table) - 1
            mask = np.where((mask < 0) | (mask > last), last, mask)
        return table[mask]

    def export(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate a mask of training ids (H, W) to export ids; ignored pixels stay 255."""
        table = np.full(256, IGNORE_ID, dtype=np.uint8)
        table[: len(self)] = self.export_ids
        return table[mask]

    def paint(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an RGB picture (H, W, 3) of a mask of training ids; ignored pixels are grey."""
        palette = np.full((256, 3), 128, dtype=np.uint8)
        palette[: len(self)] = self.colours
        return palette[mask]


def present(
    shares: NDArray[np.floating], unknown: NDArray[np.floating], *, least_share: float
) -> NDArray[np.uint8]:
    """Return which labels images show: 1 present, 0 absent, 255 where it cannot be told.

    A label is present where it covers the least share. It is absent only where it would not even
    if all that is unknown were of it.

    Args:
        shares: Of each image, how much each label covers, (..., labels).
        unknown: How much of each image nobody has looked at, (...).
        least_share: More than 0.
    """
    least = least_share - 1e-9  # a share summed from parts is the share
    possible = np.where(shares + unknown[..., None] >= least, IGNORE_ID, 0)
    return np.where(shares >= least, 1, possible).astype(np.uint8)


def _number(source: str | int, listed: Mapping[str | int, int]) -> str | int:
    return source if isinstance(source, int) else listed.get(fold(source), source)


def _lacking(word: str, source: str | int, listed: Mapping[str | int, int]) -> str | None:
    """Return what a source's name list says against a name or an id, None where it has it."""
    if isinstance(source, int):
        return None if source in listed.values() else f"{word}: the list has no id {source}"
    if fold(source) in listed:
        return None
    names = [str(name) for name in listed]
    near = get_close_matches(str(fold(source)), names, n=4) or names[:12]
    return f"{word}: the list has no {source!r}, but {', '.join(near)}"


def _shared(gathered: Iterable[tuple[str, str | int, str | int]]) -> Iterator[str]:
    """Yield the ids that more than one class gathers, by whatever name."""
    owners = defaultdict[str | int, dict[str, str | int]](dict)
    for word, source, number in gathered:
        owners[number][word] = source
    for number, found in owners.items():
        if len(found) > 1:
            told = ", ".join(f"{word} by {source!r}" for word, source in found.items())
            yield f"id {number} is gathered twice: {told}"


def fold(source: str | int) -> str | int:
    """Return a name as it is compared: without case, `_`, `-` and blanks around; ids as they are.

    Blanks within become one each.
    """
    if isinstance(source, int):
        return source
    return " ".join(source.strip().casefold().replace("_", " ").replace("-", " ").split())


def _refuse_repeats(what: str, items: Iterable[object]) -> None:
    seen: set[object] = set()
    repeated = [item for item in items if item in seen or seen.add(item)]
    if repeated:
        raise ValueError(f"{what} used twice: {', '.join(str(item) for item in repeated)}")
