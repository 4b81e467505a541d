"""What the images of a source are labelled with: read, held against the label map, narrowed.

Everything that keeps an image from being used is yielded as text, so that all of it is told at
once.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.decoding import decode_image
from wsi_vit.datasets.example import Task
from wsi_vit.datasets.image_labels import (
    Presence,
    refuse_strange_columns,
    seen_in_mask,
    told_by_table,
)
from wsi_vit.datasets.images import Absent, ImageSource, SourceIds, SourceImage
from wsi_vit.errors import DatasetError, LabelError
from wsi_vit.labels import IGNORE_ID, LabelMap, fold

_MOST_SHOWN = 8


Target = NDArray[np.uint8] | int | None
"""Training ids (h, w) of a mask, what is known of several labels (labels,), or the training id of a
class; None where there is none."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in one image."""

    target: Target
    faults: tuple[str, ...]
    """What keeps it from being used, each with the image's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReader:
    """How the targets of one source are read, and what was seen while they were."""

    source: ImageSource
    labels: LabelMap
    """For masks, with the source's own ids in the place of names."""
    task: Task
    names: Mapping[str, int] | None
    ignored: frozenset[int | str]
    unlisted: Counter[int] = field(default_factory=Counter)
    """Pixels of source ids that no class gathers, by id."""

    @classmethod
    def of(cls, source: ImageSource, labels: LabelMap, task: Task) -> Self:
        """Resolve a label map against the source's name list.

        Raises:
            LabelError: The list lacks names or ids that the map or `ignored` asks for; or there is
                no list, and a class of a mask gathers names alone.
            DatasetError: `unknown` or `background_only` speak of a background that is not there.
        """
        names, masks = source.names(), source.has_masks_for(task)
        if task != "multi_label":  # there, what is none of the labels needs no class
            _refuse_unfounded(source, labels)
        if names is None and masks:
            _refuse_nameless(labels)
        resolved = labels.resolved(names) if names is not None else labels
        ignored = _ignored(source, labels, names if masks else None)
        if task == "multi_label" and not masks and names and source.unknown == "refuse":
            refuse_strange_columns(names, labels, passed_over=ignored)
        return cls(
            source=source,
            labels=resolved if masks else labels,
            task=task,
            names=names,
            ignored=ignored,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What was resolved, and which source ids no class gathers, with their pixels."""
        called = {number: name for name, number in reversed(list((self.names or {}).items()))}
        return {
            "gathered": {item.name: list(item.sources) for item in self.labels.classes},
            "elsewhere": {
                str(number): {"name": called.get(number, ""), "pixels": self.unlisted[number]}
                for number in sorted(self.unlisted)
            },
        }

    def examine(self, image: SourceImage) -> "Examined":
        """Decode an image and read its target; whatever keeps it from being used is a fault."""
        faults, size = list[str](), None
        try:
            size = decoded_size(image.image_bytes())
        except ValueError as error:
            faults.append(str(error))
        if isinstance(image.pixels, Absent):
            return Examined(None, tuple(f"{image.relative}: {fault}" for fault in faults))
        if self.task == "pretraining":
            target = 0  # of the one class there is, whatever the image shows
        elif self.task == "segmentation":
            values = self._mask_values(image, size, faults)
            target = None if values is None else self.mask(values)
        elif self.task == "multi_label":
            target = self._labels_of(image, size, faults)
        else:
            target = self.class_of(image)
            if target is None and not self._may_be_unknown(image.word):
                faults.append(f"the label map gathers no {image.word!r}")
        return Examined(target, tuple(f"{image.relative}: {fault}" for fault in faults))

    def mask(self, values: SourceIds) -> NDArray[np.uint8]:
        """Narrow source ids (h, w) to training ids; what is ignored is 255."""
        narrowed = self.labels.narrow(values, other=self._other)
        if self.ignored:
            narrowed[np.isin(values, [item for item in self.ignored if isinstance(item, int)])] = (
                IGNORE_ID
            )
        return narrowed

    def class_of(self, image: SourceImage) -> int | None:
        """Return the training id of an image's own class, None where it has none."""
        word, labels = image.word, self.labels
        if fold(word) in self.ignored:
            return None
        found = labels.id_of_source(word)
        if found is None and word.isdecimal():
            found = labels.id_of_source(int(word))
        if found is None and self.source.unknown == "background":
            return labels.background_id
        return found

    def is_background(self, target: Target) -> bool:
        """Say whether a target shows nothing but background (and ignored pixels), or no label."""
        background = self.labels.background_id
        if isinstance(target, np.ndarray) and target.ndim == 1:
            return not target.any()
        if isinstance(target, np.ndarray):
            return bool(((target == background) | (target == IGNORE_ID)).all())
        return target == background

    @property
    def _other(self) -> int:
        background = self.labels.background_id if self.source.unknown == "background" else None
        return IGNORE_ID if background is None else background

    def _may_be_unknown(self, word: str) -> bool:
        return self.source.unknown != "refuse" or fold(word) in self.ignored

    def _labels_of(
        self, image: SourceImage, size: tuple[int, int] | None, faults: list[str]
    ) -> Presence | None:
        if image.told is not None:
            return told_by_table(image.told, self.labels)
        values = self._mask_values(image, size, faults)
        if values is None:
            return None
        return seen_in_mask(
            counted(values),
            self.labels,
            unknown=None if self.source.unknown == "ignore" else self.ignored,
            least_share=self.source.least_share,
        )

    def _mask_values(
        self, image: SourceImage, size: tuple[int, int] | None, faults: list[str]
    ) -> SourceIds | None:
        """Return the source ids of an image; whatever is wrong with them is a fault."""
        try:
            values = image.source_ids()
        except ValueError as error:
            faults.append(f"its mask {error}")
            return None
        if size is not None and values.shape != size:
            turned = "; a camera's rotation flag may do that" if values.shape == size[::-1] else ""
            faults.append(f"its mask is {values.shape}, not {size} (height, width){turned}")
        found = {
            number: pixels
            for number, pixels in counted(values).items()
            if number != IGNORE_ID
            and number not in self.ignored
            and self.labels.id_of_source(number) is None
        }
        self.unlisted.update(found)
        faults += self._strangers(found)
        return values

    def _strangers(self, found: Mapping[int, int]) -> Iterator[str]:
        listed = None if self.names is None else set(self.names.values())
        beyond = [] if listed is None else [number for number in found if number not in listed]
        if beyond and self.source.unknown != "ignore":
            yield f"mask values beyond the source's name list: {_shown(beyond)}"
        unnamed = [number for number in found if number not in beyond]
        if unnamed and self.source.unknown == "refuse":
            yield f"mask values that the label map does not gather: {_shown(unnamed)}"


def decoded_size(data: bytes) -> tuple[int, int]:
    """Decode an image as training will, and return its height and width.

    Raises:
        ValueError: It cannot be decoded to the end, or holds more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(data)) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"{picture.mode} pixels, not 8 bits a channel")
        height, width = decode_image(data, name="image").shape[:2]
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be decoded ({error.__class__.__name__})") from error
    except DatasetError as error:
        raise ValueError(f"cannot be decoded ({error.got})") from error
    return height, width


def counted(values: SourceIds) -> dict[int, int]:
    """Return how many pixels each id has."""
    if values.dtype.itemsize <= 2 and values.dtype.kind == "u":
        found = np.bincount(values.ravel())
        return {int(number): int(found[number]) for number in np.flatnonzero(found)}
    numbers, pixels = np.unique(values, return_counts=True)
    return dict(zip(numbers.tolist(), pixels.tolist(), strict=True))


def _shown(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_MOST_SHOWN])
    return shown + (" …" if numbers[_MOST_SHOWN:] else "")


def _refuse_unfounded(source: ImageSource, labels: LabelMap) -> None:
    asked = {"unknown: background": source.unknown == "background"}
    asked["background_only: drop"] = source.background_only == "drop"
    found = [key for key, is_asked in asked.items() if is_asked]
    if found and labels.background is None:
        raise DatasetError(
            f"`{'` and `'.join(found)}` need a class that is the background",
            got="labels.background is not set",
            known=labels.names,
            remedy="Name that class in labels.background",
        )


def _refuse_nameless(labels: LabelMap) -> None:
    """Refuse classes that no mask can show: it holds ids, and nothing says what they are called."""
    nameless = [
        item.name
        for item in labels.classes
        if item.name != labels.background
        and not any(isinstance(part, int) for part in item.sources)
    ]
    if nameless:
        raise LabelError(
            "The source has no list of names, so masks can only be read by id",
            got=f"names alone for {', '.join(nameless)}",
            remedy="Write the masks' values, such as `source: [1]`",
        )


def _ignored(
    source: ImageSource, labels: LabelMap, names: Mapping[str, int] | None
) -> frozenset[int | str]:
    listed = {fold(name): number for name, number in (names or {}).items()}
    lost = [item for item in source.ignored if names is not None and fold(item) not in listed]
    lost = [item for item in lost if item not in listed.values()]
    both = [item for item in source.ignored if labels.id_of_source(item) is not None]
    if lost or both:
        raise LabelError(
            "`source.ignored` names what the source does not have, or what a class gathers",
            got=", ".join(str(item) for item in [*lost, *both]),
            known=names,
            remedy="Name each thing once, as the source does",
        )
    return frozenset(listed.get(fold(item), fold(item)) for item in source.ignored)
