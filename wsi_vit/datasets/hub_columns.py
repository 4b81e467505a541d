"""Which column of a table of the hub plays which part: told by its kind and its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from wsi_vit.datasets.shards import UNKNOWN
from wsi_vit.errors import DatasetError
from wsi_vit.labels import IGNORE_ID

if TYPE_CHECKING:
    from datasets import Features

_IMAGE_WORDS = ("image", "pixel_values", "img", "picture", "photo")
_MASK_WORDS = ("mask", "label", "labels", "annotation", "annotated", "segmentation", "label_map")


class NamedColumns(Protocol):
    """What somebody says of columns; None where nobody does."""

    @property
    def image(self) -> str | None:
        """The pictures."""
        ...

    @property
    def mask(self) -> str | None:
        """The masks."""
        ...

    @property
    def label(self) -> str | None:
        """The classes of whole pictures."""
        ...

    @property
    def patient(self) -> str | None:
        """Whom a picture is of."""
        ...

    @property
    def site(self) -> str | None:
        """Where it is from."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column plays which part."""

    image: str
    mask: str | None
    label: str | None
    classes: tuple[str, ...]
    """Names of the label column's ids, where it has ids."""
    is_list: bool
    """Whether the label column lists several of them."""
    unknown: str | None
    """The column that lists labels that are not known, beside one that lists labels."""

    def told(self, row: Mapping[str, Any]) -> dict[str, int]:
        """Return which labels a row lists: 1 present, 0 absent, 255 not known."""
        listed, unknown = row.get("label"), row.get("unknown") or ()
        if listed is None:
            return dict.fromkeys(self.classes, IGNORE_ID)
        return {
            name: 1 if number in listed else IGNORE_ID if number in unknown else 0
            for number, name in enumerate(self.classes)
        }


def told_apart(features: "Features", source: NamedColumns) -> Columns:
    """Find out which column plays which part.

    Raises:
        DatasetError: A column that is named is not there, or one cannot be told from another.
    """
    from datasets import Image

    asked = (source.image, source.mask, source.label, source.patient, source.site)
    lost = [name for name in asked if name is not None and name not in features]
    if lost:
        raise _unclear(f"There is no column {', '.join(lost)}", features)
    pictures = [name for name, kind in features.items() if isinstance(kind, Image)]
    image = source.image or _named_one_of(_IMAGE_WORDS, pictures)
    if image is None:
        raise _unclear("Which column holds the images cannot be told", features)
    rest = [name for name in pictures if name != image]
    mask = source.mask or (rest[0] if len(rest) == 1 else _named_one_of(_MASK_WORDS, rest))
    named = {name: found for name, kind in features.items() if (found := _names_in(kind))}
    labels = [name for name in named if name != UNKNOWN]
    label = source.label or (labels[0] if len(labels) == 1 else None)
    names, is_list = named.get(label or "", ((), False))
    unknown = UNKNOWN if is_list and named.get(UNKNOWN) == (names, True) else None
    return Columns(
        image=image, mask=mask, label=label, classes=names, is_list=is_list, unknown=unknown
    )


def _names_in(kind: Any) -> tuple[tuple[str, ...], bool] | None:
    """Return the names of a column's classes, and whether it lists them; None of other columns."""
    from datasets import ClassLabel, LargeList, List

    is_list = isinstance(kind, List | LargeList)
    one = kind.feature if is_list else kind
    return (tuple(one.names or ()), is_list) if isinstance(one, ClassLabel) else None


def _named_one_of(words: tuple[str, ...], columns: list[str]) -> str | None:
    if len(columns) == 1:
        return columns[0]
    return next((word for word in words if word in columns), None)


def _unclear(what: str, features: "Features") -> DatasetError:
    return DatasetError(
        what,
        known=[f"{name} ({type(kind).__name__})" for name, kind in features.items()],
        remedy="Name columns in source.image, source.mask, source.label, source.patient, .site",
    )
