"""Folders of images beside folders of masks of the same stems: pairs, and what has no partner."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsi_vit.datasets.images import Absent, Blob, EncodedMask, FileBlob, Mask, pictures_in
from wsi_vit.datasets.masks import IndexValues


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask; one of them may be absent, which shows when it is read."""

    stem: str
    relative: str
    """Path of the image, or else of the mask, below the root."""
    pixels: Blob
    mask: Mask


def pairs_in(root: Path, images: str, masks: str) -> Iterator[Pair]:
    """Yield the images of one folder with the masks of another, by stem, and then masks alone.

    Masks hold ids as grey values or indices of a palette.
    """
    found = {path.stem: path for path in pictures_in(root / masks)}
    stems = set[str]()
    for path in pictures_in(root / images):
        stems.add(path.stem)
        mask = found.get(path.stem)
        named = f"{masks}/{path.stem}.png"
        ids = EncodedMask(FileBlob(mask), IndexValues(), named) if mask else _no_mask(named)
        yield Pair(path.stem, path.relative_to(root).as_posix(), FileBlob(path), ids)
    for stem, path in found.items():
        if stem not in stems:
            absent = Absent(f"is a mask without an image ({images}/{stem}.*)")
            yield Pair(stem, path.relative_to(root).as_posix(), absent, absent)


def _no_mask(named: str) -> Absent:
    return Absent(f"is not there ({named})")
