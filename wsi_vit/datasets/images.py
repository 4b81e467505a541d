"""Pictures with labels, wherever they lie: what all their sources have in common.

A source finds its images and says what their names say; it decodes nothing. What is wrong with a
file shows when it is read, is a `ValueError` with a short reason, and is collected by whoever reads
them all, so that everything is told at once.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.cohort import SPLITS
from wsi_vit.datasets.example import Task
from wsi_vit.datasets.masks import File
from wsi_vit.errors import DatasetError
from wsi_vit.labels import fold
from wsi_vit.section import Section
from wsi_vit.store import digest_of, file_digest

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})

SourceIds = NDArray[np.integer]
"""Ids as the source numbers its classes, shape (height, width)."""

_MOST_SHOWN = 50


class Blob(Protocol):
    """The encoded bytes of one picture."""

    def digest(self) -> str:
        """Return the sha256 of the bytes; empty text where there are none."""
        ...

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            ValueError: They cannot be had, with a short reason.
        """
        ...


class Mask(Protocol):
    """Where one image's source ids come from."""

    def digest(self) -> str:
        """Return what decides the ids: bytes, and how they are read."""
        ...

    def read(self) -> SourceIds:
        """Return the ids (h, w).

        Raises:
            ValueError: They cannot be had, with a short reason.
        """
        ...


class Values(Protocol):
    """How a mask's file says which class a pixel is (see `masks`)."""

    def read(self, file: File) -> SourceIds:
        """Return the ids (h, w) of a file by its path, or of its bytes."""
        ...


@dataclass(frozen=True, slots=True)
class FileBlob:
    """A picture in a file of its own."""

    path: Path

    def digest(self) -> str:
        """Return the sha256 of the file."""
        return file_digest(self.path) if self.path.is_file() else ""

    def read(self) -> bytes:
        """Return the file's bytes."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot be read ({error.strerror})") from error


@dataclass(frozen=True, slots=True)
class EncodedMask:
    """A mask that is a file, or a cell of a table, in one of the formats of `masks`."""

    blob: Blob
    values: Values
    named: str = ""
    """How the file is called in a message, where it may be lacking."""

    def digest(self) -> str:
        """Return what decides the ids."""
        return digest_of([self.blob.digest(), self.values])

    def read(self) -> SourceIds:
        """Return the ids (h, w)."""
        if isinstance(self.blob, FileBlob) and not self.blob.path.is_file():
            raise ValueError(f"is not there ({self.named or self.blob.path.name})")
        return self.values.read(self.blob.read())


@dataclass(frozen=True, slots=True)
class Absent:
    """A picture, or a mask, that is not there, and why."""

    reason: str

    def digest(self) -> str:
        """Return empty text."""
        return ""

    def read(self) -> NoReturn:
        """Raise: there is nothing."""
        raise ValueError(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """One image of a source, with what its name says."""

    relative: str
    """How messages call it: its path below the root, or its place in a table."""
    slide_id: str
    """Its name in the dataset, unique."""
    patient: str
    """Whom it is of; for videos, a run of frames. Images of one patient stay together."""
    pixels: Blob
    mask: Mask | None = None
    site: str = ""
    word: str = ""
    """Its class as the source spells it; for masks, what to stratify by."""
    told: Mapping[str, int] | None = None
    """Which labels it shows, as the source spells them: 1 present, 0 absent, 255 not known; None
    where no table says so."""
    given: str = ""
    """The split that the source puts it in, as one of ours."""
    left_out: str = ""
    """Why the source leaves it out, such as its status; empty text where it does not."""

    def image_bytes(self) -> bytes:
        """Return the encoded image.

        Raises:
            ValueError: It cannot be had, with a short reason.
        """
        return self.pixels.read()

    def source_ids(self) -> SourceIds:
        """Return the source ids of its pixels (h, w).

        Raises:
            ValueError: It has none, or they cannot be read, with a short reason.
        """
        if self.mask is None:
            raise ValueError("is not there (no rule finds one)")
        return self.mask.read()


class ImageSource(Section):
    """What all sources of pictures have in common."""

    root: Path | None = None
    """The local copy; `--cohort` names another."""
    unknown: Literal["refuse", "ignore", "background"] = "refuse"
    """What becomes of classes and mask values that the label map does not name. Where an image has
    several labels, `background` is what is none of them, and `ignore` what nobody knows."""
    ignored: tuple[str | Annotated[int, Field(ge=0, le=65535, strict=True)], ...] = ()
    """Source classes (names or ids) whose pixels count nowhere, whatever `unknown` says."""
    background_only: Literal["keep", "drop"] = "keep"
    """Whether images stay that show nothing but background, or none of several labels."""
    least_share: float = Field(default=0.001, gt=0, le=1)
    """Where an image has several labels and a mask: of its pixels, what shows that one is there."""
    rows: int | None = Field(default=None, ge=1)
    """At most so many images, chosen by the digests of their bytes: the same on every machine."""
    mpp: float | None = Field(default=None, gt=0)
    """Resolution of the images in micrometres per pixel, where it is known."""

    licence: str | None = None
    """The hub's identifier of the images' licence, such as `cc-by-4.0`; publishing needs it."""
    unit: str | None = Field(default=None, pattern=r"^\w+s( .+)?$")
    """What those whom a split keeps whole are called, as a plural, such as `photos` or `runs of
    five frames`; absent: patients where the source knows them, else images."""

    @property
    def units(self) -> str:
        """What those whom a split keeps whole are called, as a plural."""
        return self.unit or ("patients" if self.patients_known else "images")

    @property
    def patients_known(self) -> bool:
        """Whether images of one patient (or run of frames) are known to belong together."""
        return False

    def unfit(self, task: Task) -> list[str]:
        """Return why these settings cannot serve a task; empty where they can."""
        del task
        return []

    def has_masks_for(self, task: Task) -> bool:
        """Say whether targets of a task are read from masks."""
        return task in ("segmentation", "multi_label")

    def names(self) -> Mapping[str, int] | None:
        """Return the source's own name list, name -> source id; None where it has none.

        Raises:
            DatasetError: It should have one, and it cannot be read.
        """
        return None

    def find(self) -> list[SourceImage]:
        """Return the images, in an order that every machine gives them.

        Raises:
            DatasetError: There are none, or names do not say what the settings need; all at once.
        """
        raise NotImplementedError


def bytes_digest(data: bytes) -> str:
    """Return the sha256 of bytes, as `file_digest` does of a file."""
    return hashlib.sha256(data).hexdigest()


def existing(root: Path | None, *parts: str) -> Path:
    """Return the root, after a look that it and the folders below it are there.

    Raises:
        DatasetError: One of them is not.
    """
    if root is None or not root.is_dir():
        raise DatasetError(
            "There is no folder of images",
            got=root,
            remedy="Name an existing folder in source.root, or with --cohort",
        )
    lost = [part for part in parts if not (root / part).is_dir()]
    if lost:
        raise DatasetError(
            f"The folder of images lacks {', '.join(lost)}",
            got=root,
            known=sorted(path.name for path in root.iterdir())[:12],
            remedy="Name the folder that holds them in source.root, or with --cohort",
        )
    return root


def pictures_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, in order; hidden files are none."""
    return sorted(path for path in folder.glob("*") if is_picture(path))


def is_picture(path: Path) -> bool:
    """Say whether a file is, by its name, an image; hidden files are none."""
    return path.suffix.casefold() in IMAGE_SUFFIXES and not path.name.startswith(".")


def split_named(word: str) -> str:
    """Return the split that a word such as `training` or `val` means; empty text for none."""
    return next((str(split) for split in SPLITS if word[:3].casefold() == split[:3]), "")


def unambiguous(synonyms: Iterable[tuple[int, Sequence[str]]]) -> dict[str, int]:
    """Return ids by name, where each id has a first name and further ones.

    A first name wins over another's further name. Where ids share a first name, each is called by
    it and its number; a further name of several ids stands for none of them.
    """
    listed = [(number, names) for number, names in synonyms if names]
    times = Counter(fold(names[0]) for _, names in listed)
    first = {
        names[0] if times[fold(names[0])] == 1 else f"{names[0]} {number}": number
        for number, names in listed
    }
    meant = defaultdict[str | int, set[int]](set)
    for number, names in listed:
        for name in names[1:]:
            meant[fold(name)].add(number)
    rest = {name: number for number, names in listed for name in names[1:]}
    return first | {
        name: number
        for name, number in rest.items()
        if len(meant[fold(name)]) == 1 and fold(name) not in times
    }


def none_found(root: Path | str | None, *, wanted: object, remedy: str) -> DatasetError:
    """Return the error that there are no images."""
    return DatasetError(
        "The folder holds no images",
        got=f"{root} with {wanted}",
        known=sorted(IMAGE_SUFFIXES),
        remedy=remedy,
    )


def refuse(problems: Sequence[str], root: Path | str | None) -> None:
    """Raise one error for all problems.

    Raises:
        DatasetError: There is at least one.
    """
    if not problems:
        return
    shown = "\n  ".join(problems[:_MOST_SHOWN])
    more = len(problems) - _MOST_SHOWN
    raise DatasetError(
        f"{len(problems)} problems with the images:\n  {shown}"
        + (f"\n  and {more} more\n" if more > 0 else "\n"),
        got=root,
        remedy="Mend or remove these files, or the source's rules; nothing was stored",
    )
