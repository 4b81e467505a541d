"""What a slide file must be able to give, whichever library reads it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.resolution import StatedMpp

WHITE = (255, 255, 255)

_MOST_PX = 1 << 21
"""No scanner makes a plane two million pixels wide (half a metre of glass at 0.25 µm/px)."""
_MOST_PX_PER_BYTE = 20_000
"""Blank JPEG tiles reach 130, blank zstd tiles 3,000; beyond this the file holds no such pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One resolution of the pyramid."""

    width: int
    height: int
    downsample: float
    """Base pixels per pixel of this level, not rounded."""
    tile_width: int
    tile_height: int
    """Size of the pieces the file stores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself; no pixel is read for it.

    Only these values leave a reader: everything else a scanner writes (names, dates, barcodes) may
    identify a patient.
    """

    vendor: str
    levels: tuple[Level, ...]
    stated: tuple[StatedMpp, ...]
    bounds: Region | None = None
    """The scanned part of the plane, in base pixels, where the file names one."""
    background: tuple[int, int, int] = WHITE
    objective: float | None = None
    """Nominal objective power, for people; nothing is computed from it."""
    is_flat_ome: bool = False
    """Whether it is an OME-TIFF of which this library sees one level only."""


class Reader(Protocol):
    """A slide opened by one library; every method may be called from any thread."""

    name: str
    header: Header

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return RGBA pixels (height, width, 4) of a level; the rectangle lies inside the level.

        Raises:
            SlideError: UNREADABLE_TILES; the handle is fresh again for the next call.
        """
        ...

    def close(self) -> None:
        """Close every handle."""
        ...


def refuse_absurd_size(width: int, height: int, file_bytes: int, name: str) -> None:
    """Refuse a header that claims more pixels than the file can hold.

    Raises:
        SlideError: ABSURD_SIZE.
    """
    fits = width * height <= _MOST_PX_PER_BYTE * max(file_bytes, 4096)
    if 0 < width <= _MOST_PX and 0 < height <= _MOST_PX and fits:
        return
    raise SlideError(
        Reason.ABSURD_SIZE,
        "The header claims more pixels than the file can hold",
        got=f"{width} x {height} px in {file_bytes:,} bytes of {name}",
        remedy="Copy the slide from the scanner again; compare its size and checksum",
    )


def unreadable_tiles(name: str, why: object) -> SlideError:
    """Return the error for pixels that are in the file but cannot be decoded."""
    return SlideError(
        Reason.UNREADABLE_TILES,
        f"Pixels cannot be read: {why}",
        got=name,
        remedy="Copy the slide from the scanner again; `wsi-vit slides check` lists what is bad",
    )
