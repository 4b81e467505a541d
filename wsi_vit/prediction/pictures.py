"""Plain pictures: found, named, decoded by stated rules, and class maps as indexed PNG.

What a model is shown is 8-bit RGB. Grey, black-and-white and palette pictures get their colours;
CMYK is converted without its profile; transparent pixels lie on white. A photograph that its camera
held sideways (EXIF) is turned upright for the model; its class map lies on the pixels as the file
stores them and carries the same note, so both fit whether a program heeds the note or not.
Refused, with the reason: more than 8 bits a channel (how they were scaled for training is not
known), several pages, and more than 178 megapixels.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from wsi_vit.errors import UsageError
from wsi_vit.labels import LabelMap

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
OVERLAY, CLASS_MAP = ".overlay.png", ".classes.png"
"""How the names of our own pictures end; they are not taken for pictures to predict."""
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
_ONE_PICTURE = ("JPEG", "MPO")
"""Phones hide previews and depth behind the photograph: pages of these formats are no matter."""
_PANEL_PX = 420
"""Smaller pictures are enlarged to this, to be looked at."""
_VIEWS = {
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, -1),
    7: (True, -1),
    8: (False, 1),
}
"""EXIF orientation -> mirrored first, and quarter turns (counter-clockwise) to stand upright."""
_FILTERS = Lock()
"""Python's warning filters belong to all threads."""

Pixels = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """A decoded picture."""

    pixels: Pixels
    """Upright RGB, shape (height, width, 3)."""
    orientation: int = 1
    """How the file's own pixels lie, as EXIF counts; 1 is upright."""

    def as_stored(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what lies on the upright pixels (height, width) on the file's own pixels."""
        mirrored, turns = _VIEWS.get(self.orientation, (False, 0))
        turned = np.rot90(ids, -turns)
        return turned[:, ::-1] if mirrored else turned


def find_images(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the pictures named, and those in the folders named, each with a name of its own.

    A picture named is called by its stem; one in a folder by its place in that folder, too. Where a
    name comes again it is numbered (`x`, `x~2`).

    Raises:
        UsageError: A folder holds none.
    """
    taken: set[str] = set()
    for path in paths:
        for found in _inside(path) if path.is_dir() else [path]:
            place = found.relative_to(path).parent if path.is_dir() else Path()
            stem = (place / found.stem).as_posix()
            names = (stem if n == 1 else f"{stem}~{n}" for n in count(1))
            name = next(name for name in names if name not in taken)
            taken.add(name)
            yield name, found


def _inside(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and not path.name.endswith((OVERLAY, CLASS_MAP))
    ]
    if not found:
        raise UsageError(
            "No picture in this folder",
            got=folder,
            known=SUFFIXES,
            remedy="Name a folder with such files",
        )
    return found


def header_bytes(path: Path) -> int:
    """Return how many bytes a picture takes once decoded; 0 where its header cannot be read."""
    try:
        with _opened(path) as image:
            return 3 * image.width * image.height
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0  # decoding it will say what is wrong


def decode(path: Path) -> Photograph:
    """Return a picture by the rules above.

    Raises:
        ValueError: The file is missing or damaged, or its pixels are of a kind that is refused.
    """
    try:
        with _opened(path) as image:
            _refuse_odd(image)
            image.load()  # a TIFF's orientation is obeyed in this, and then gone
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            pixels = _rgb(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{error.__class__.__name__}: {error}") from error
    if orientation not in _VIEWS:
        return Photograph(pixels)
    mirrored, turns = _VIEWS[orientation]
    upright = np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)
    return Photograph(np.ascontiguousarray(upright), orientation)


def _opened(path: Path) -> Any:
    """Open a picture; what Pillow warns of it refuses at twice the size, and that is our limit."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _refuse_odd(image: Any) -> None:
    if image.mode not in _MODES or ";16" in str(getattr(image, "tile", "")):
        raise ValueError(f"pixels of mode {image.mode}, not 8 bits a channel: convert it to RGB")
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format not in _ONE_PICTURE:
        raise ValueError(f"{pages} pages: save the one that is meant")


def _rgb(image: Any) -> Pixels:
    if not image.has_transparency_data:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    rgba = image.convert("RGBA")
    ground = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(ground, rgba).convert("RGB"))


def save_class_map(
    path: Path, ids: NDArray[np.uint8], labels: LabelMap, *, orientation: int = 1
) -> None:
    """Write training ids (H, W) as an indexed PNG of export ids with the classes' colours."""
    palette = np.full((256, 3), 128, np.uint8)
    palette[list(labels.export_ids)] = labels.colours
    image = Image.fromarray(labels.export(ids)).convert("L")
    image.putpalette(palette.tobytes())
    exif = Image.Exif()
    if orientation != 1:
        exif[ExifTags.Base.Orientation] = orientation
    image.save(path, format="PNG", exif=exif)


def resized(
    image: Pixels, ids: NDArray[np.uint8], longest_px: int
) -> tuple[Pixels, NDArray[np.uint8]]:
    """Return both at a size to look at; ids are picked, never mixed."""
    longest = max(image.shape[:2])
    scale = min(longest_px, max(longest, _PANEL_PX)) / longest
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    smooth = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(smooth), np.asarray(Image.fromarray(ids).resize(size, 0))
