"""How a mask file says which class a pixel is: grey values, a threshold, colours, MATLAB, COCO.

Each format reads a file to source ids, (h, w) of whole numbers. What cannot be read for sure is a
`ValueError` with a short reason, which whoever reads many files counts and names with its file.
"""

from collections.abc import Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from wsi_vit.datasets.coco import CocoMasks, read_coco
from wsi_vit.section import Section

File = Path | bytes
"""A file by its path, or its whole content."""

Ids = NDArray[np.integer]
"""Source ids, shape (height, width)."""

SourceId = Annotated[int, Field(ge=0, le=65535, strict=True)]

_GREYS = frozenset({"1", "L", "LA", "P", "PA"})
_DEEP = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_MOST_SHOWN = 4


def _lower_once(colours: Mapping[str, int]) -> Mapping[str, int]:
    lowered = {colour.lower(): number for colour, number in colours.items()}
    if len(lowered) < len(colours):
        raise ValueError("a colour is given twice")
    return lowered


Palette = Annotated[
    dict[Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")], SourceId],
    Field(min_length=1),
    AfterValidator(_lower_once),
]


class IndexValues(Section):
    """Grey values, or indices of a palette, are the source ids; black and white is 0 and 1."""

    kind: Literal["index"] = "index"

    def read(self, file: File) -> Ids:
        """Return source ids (h, w), uint8, or uint16 for a file of 16 bits.

        Raises:
            ValueError: It cannot be decoded to the end, or is coloured.
        """
        picture = open_picture(file)
        if picture.mode == "1":  # as greys these would be 0 and 255, "ignored"
            return np.asarray(picture).astype(np.uint8)
        if picture.mode in _DEEP:
            return np.asarray(picture).astype(np.uint16)
        values = _eight_bits(picture)
        if picture.mode in _GREYS:  # PA, LA: the ids come first
            return values if values.ndim == 2 else values[..., 0]
        if values.ndim != 3 or (values[..., :3] != values[..., :1]).any():
            raise ValueError("is coloured; ids are grey values, or indices of a palette")
        return values[..., 0]


class ThresholdValues(Section):
    """Grey above a limit is source id 1, all else 0: for masks with soft edges, or 0 and 255."""

    kind: Literal["threshold"] = "threshold"
    above: int = Field(default=127, ge=0, le=254)

    def read(self, file: File) -> Ids:
        """Return 0 and 1 (h, w), uint8.

        Raises:
            ValueError: It cannot be decoded to the end, or holds more than 8 bits a channel.
        """
        picture = open_picture(file)
        _eight_bits(picture)
        return (np.asarray(picture.convert("L")) > self.above).astype(np.uint8)


class PaletteValues(Section):
    """Colours stand for source ids."""

    kind: Literal["palette"] = "palette"
    colours: Palette
    """Source id of each colour, such as `"#800000": 1`; any other colour is a fault."""

    def read(self, file: File) -> Ids:
        """Return source ids (h, w), uint16.

        Raises:
            ValueError: It cannot be decoded to the end, is transparent, or shows other colours.
        """
        picture = open_picture(file)
        _eight_bits(picture)
        if picture.mode in {"RGBA", "LA", "PA"} and picture.getchannel("A").getextrema()[0] < 255:
            raise ValueError("is transparent in places, so their colour says nothing")
        pixels = np.asarray(picture.convert("RGB")).astype(np.uint32)
        packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
        known, numbers = self._table
        places = np.searchsorted(known, packed).clip(max=len(known) - 1)
        strange = packed[known[places] != packed]
        if len(strange):
            raise ValueError(_unlisted(strange, packed.size))
        return numbers[places]

    @cached_property
    def _table(self) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        """Colours of 24 bits in ascending order, and the ids they stand for."""
        ordered = sorted((int(colour[1:], 16), number) for colour, number in self.colours.items())
        colours, numbers = zip(*ordered, strict=True)
        return np.array(colours, np.uint32), np.array(numbers, np.uint16)


class MatValues(Section):
    """A matrix in a MATLAB file (up to version 7) holds the source ids."""

    kind: Literal["mat"] = "mat"
    variable: str = Field(min_length=1)
    """The matrix; `groundTruth/Segmentation` is the field of a struct."""

    def read(self, file: File) -> Ids:
        """Return source ids (h, w), of the matrix's own kind of integer.

        Raises:
            ValueError: It cannot be read, lacks the variable, or this is no matrix of ids.
        """
        parts = self.variable.split("/")
        content = _loaded(file)
        for part in parts:
            content = _member(content, part)
        return _as_ids(content)


class CocoValues(Section):
    """Polygons and run lengths of COCO files, painted in each file's order over 0."""

    kind: Literal["coco"] = "coco"
    file: str = Field(min_length=1)
    """The file of annotations below the source's root, or a glob: `*/_annotations.coco.json` where
    each split has its own."""

    def open(self, root: Path) -> CocoMasks:
        """Read the files below a root: category names, and the mask of each image by name.

        Raises:
            DatasetError: There is none, or one is no such file; all its faults at once.
        """
        return read_coco(root, self.file)


MaskValues = Annotated[
    IndexValues | ThresholdValues | PaletteValues | MatValues | CocoValues,
    Field(discriminator="kind"),
]
"""How masks say which class a pixel is."""


def open_picture(file: File) -> Any:
    """Decode a picture to its end, as a Pillow image of the file's own mode.

    Raises:
        ValueError: It cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(file) if isinstance(file, bytes) else file) as picture:
            picture.load()
            return picture
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be decoded ({error.__class__.__name__})") from error


def _eight_bits(picture: Any) -> NDArray[np.uint8]:
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"has {picture.mode} pixels, not 8 bits a channel")
    return np.asarray(picture, dtype=np.uint8)


def _unlisted(strange: Ids, pixels: int) -> str:
    colours, counts = np.unique(strange, return_counts=True)
    most = colours[counts.argsort()[::-1][:_MOST_SHOWN]]
    shown = ", ".join(f"#{colour:06x}" for colour in most.tolist())
    more = " …" if len(colours) > _MOST_SHOWN else ""
    share = len(strange) / pixels
    return f"has {len(strange)} pixels ({share:.2%}) of unlisted colours: {shown}{more}"


def _loaded(file: File) -> Mapping[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(BytesIO(file) if isinstance(file, bytes) else file)
    except NotImplementedError:
        raise ValueError("is MATLAB 7.3; save it with `-v7`") from None
    except (OSError, ValueError, TypeError, MatReadError) as error:
        raise ValueError(f"is no MATLAB file that can be read ({type(error).__name__})") from error


def _member(content: Any, name: str) -> Any:
    """Return a variable of a file, or a field of a struct; single cells are opened."""
    content = _opened(content)
    if isinstance(content, Mapping):
        known = [key for key in content if not key.startswith("__")]
    else:
        known = list(getattr(content.dtype, "names", None) or ())
    if name not in known:
        raise ValueError(f"has no {name!r} (but {', '.join(known) or 'no fields'})")
    return content[name]


def _opened(content: Any) -> Any:
    """Take the only element out of structs and cells of one."""
    while isinstance(content, np.ndarray) and content.dtype == object:
        if content.size != 1:
            raise ValueError(f"holds {content.size} matrices where one is expected")
        content = content.item()
    return content


def _as_ids(content: Any) -> Ids:
    values = _opened(content)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf" or values.ndim != 2:
        raise ValueError("holds no matrix of numbers there")
    if values.dtype.kind == "f":
        if not (np.isfinite(values) & (values == np.floor(values))).all():
            raise ValueError("holds numbers that are not whole, so no ids")
        return values.astype(np.int64)
    return values.astype(np.uint8) if values.dtype.kind == "b" else values
