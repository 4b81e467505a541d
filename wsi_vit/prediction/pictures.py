"""Plain pictures: found, decoded, brought to a size, and class maps as indexed PNG."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_vit.errors import UsageError
from wsi_vit.labels import LabelMap

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_PANEL_PX = 420
"""Smaller pictures are enlarged to this, to be looked at."""

Pixels = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""


def find_images(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the pictures named, and those in the folders named.

    Raises:
        UsageError: A folder holds none.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in SUFFIXES]
        if not inside:
            raise UsageError(
                "No picture in this folder",
                got=path,
                known=SUFFIXES,
                remedy="Name a folder with such files",
            )
        yield from inside


def decode(path: Path) -> Pixels:
    """Return a picture as RGB (H, W, 3); transparent pixels lie on white.

    Raises:
        ValueError: The file is missing, damaged, or holds more than 8 bits a channel.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in _MODES:
                raise ValueError(f"pixels of mode {image.mode}: convert it to 8-bit RGB")
            if not image.has_transparency_data:
                return np.asarray(image.convert("RGB"))
            rgba = image.convert("RGBA")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{error.__class__.__name__}: {error}") from error
    ground = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(ground, rgba).convert("RGB"))


def named_images(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield each path with a name of its own: the stem, numbered where it comes again."""
    taken: set[str] = set()
    for path in paths:
        names = (path.stem if n == 1 else f"{path.stem}~{n}" for n in count(1))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        yield name, path


def indexed_png(ids: NDArray[np.uint8], labels: LabelMap) -> Image.Image:
    """Return training ids (H, W) as a picture of export ids with the classes' colours."""
    palette = np.full((256, 3), 128, np.uint8)
    palette[list(labels.export_ids)] = labels.colours
    image = Image.fromarray(labels.export(ids)).convert("L")
    image.putpalette(palette.tobytes())
    return image


def resized(
    image: Pixels, ids: NDArray[np.uint8], longest_px: int
) -> tuple[Pixels, NDArray[np.uint8]]:
    """Return both at a size to look at; ids are picked, never mixed."""
    longest = max(image.shape[:2])
    scale = min(longest_px, max(longest, _PANEL_PX)) / longest
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    smooth = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(smooth), np.asarray(Image.fromarray(ids).resize(size, 0))
