"""The JPEG tiles of a TIFF slide as they lie in the file: where, how long, what they need."""

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.files import is_tiff
from wsi_vit.slides.jpeg_stream import Colour, Opening, standing_alone
from wsi_vit.slides.reader import Level, Reader

_JPEG = 7
_COLOURS: dict[int, Colour] = {2: "RGB", 6: "YCbCr"}
_PLAIN_VENDORS = frozenset({"aperio", "generic-tiff"})
"""Where OpenSlide shows a level exactly as the TIFF stores it: no gap, overlap or offset."""
_MOST_OPENINGS = 64
"""Headers remembered a level; scanners write one."""


@dataclass(frozen=True, eq=False)
class StoredLevel:
    """One level whose tiles are baseline JPEG."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: NDArray[np.int64]
    """Of each tile in the file, row-major."""
    counts: NDArray[np.int64]
    """Bytes of each tile; 0 where it is not stored."""
    tables: bytes
    colour: Colour

    @cached_property
    def columns(self) -> int:
        """Tiles side by side."""
        return -(-self.width // self.tile_width)

    @cached_property
    def openings(self) -> dict[bytes, Opening]:
        """Headers seen so far."""
        return {}

    def opening(self, stored: bytes) -> Opening:
        """Return how a tile opens and must open.

        Raises:
            StreamError: It is no JPEG that can be kept as it is.
        """
        for known in self.openings.values():
            if stored.startswith(known.stored):
                return known
        size = self.tile_width, self.tile_height
        found = standing_alone(stored, self.tables, colour=self.colour, size=size)
        if len(self.openings) < _MOST_OPENINGS:
            self.openings[found.stored] = found
        return found


Extent = tuple[int, int]
"""Where bytes of a file begin, and how many there are."""


class StoredTiles:
    """The file behind some levels, read by position: any thread may read at any time."""

    def __init__(self, path: Path, levels: tuple[StoredLevel | None, ...]) -> None:
        self.path = path
        self.levels = levels
        self._lock = threading.Lock()
        self._file: int | None = None

    def raw(self, level: StoredLevel, index: int) -> bytes:
        """Return the bytes of one tile as they are stored; empty where it is not."""
        return os.pread(self._opened(), int(level.counts[index]), int(level.offsets[index]))

    def standalone(self, level: StoredLevel, index: int) -> tuple[bytes, Opening]:
        """Return one tile as a JPEG that any decoder reads, and how it opens.

        Raises:
            StreamError: It is no JPEG that can be kept as it is, or not all there.
        """
        raw = self.raw(level, index)
        opening = level.opening(raw)
        return opening.standalone + raw[len(opening.stored) :], opening

    def announce(self, extents: Iterable[Extent]) -> None:
        """Tell the system what will be read soon; one that cannot be told reads it when asked."""
        if not hasattr(os, "posix_fadvise"):
            return
        file = self._opened()
        for offset, count in extents:
            os.posix_fadvise(file, offset, count, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Close the file; reading again opens it anew."""
        with self._lock:
            handle, self._file = self._file, None
        if handle is not None:
            os.close(handle)

    def _opened(self) -> int:
        if self._file is None:
            with self._lock:
                if self._file is None:
                    self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._file


def stored_tiles(path: Path, reader: Reader) -> StoredTiles | None:
    """Find the JPEG tiles behind a reader's levels; None where not one level has such.

    Only offsets, lengths and tags are read. What cannot be understood is no error here: the reader
    can still read that level's pixels.
    """
    plain = reader.name == "tifffile" or reader.header.vendor in _PLAIN_VENDORS
    if not plain or not is_tiff(path):
        return None
    from tifffile import TiffFile

    from wsi_vit.slides.tifffile_reader import decoding_errors

    try:
        with TiffFile(path) as handle:
            levels = _levels(handle, reader)
    except decoding_errors():
        return None
    return StoredTiles(path, levels) if any(levels) else None


def _levels(handle: Any, reader: Reader) -> tuple[StoredLevel | None, ...]:
    """Return what lies behind each of the reader's levels."""
    if reader.name == "tifffile":
        pages = [level.pages[0] for level in handle.series[0].levels]
    else:
        pages = list(handle.pages)
    file_bytes = handle.filehandle.size
    return tuple(_level(pages, level, file_bytes) for level in reader.header.levels)


def _level(pages: Sequence[Any], level: Level, file_bytes: int) -> StoredLevel | None:
    page = next((item for item in pages if _is_behind(item, level)), None)
    if page is None:
        return None
    offsets, counts = (
        np.asarray(values, np.int64) for values in (page.dataoffsets, page.databytecounts)
    )
    across, down = -(-level.width // page.tilewidth), -(-level.height // page.tilelength)
    beyond = offsets + counts > file_bytes
    if not len(offsets) == len(counts) == across * down:
        return None
    return StoredLevel(
        width=level.width,
        height=level.height,
        tile_width=page.tilewidth,
        tile_height=page.tilelength,
        offsets=offsets,
        counts=np.where(beyond, 0, counts),
        tables=bytes(page.jpegtables or b""),
        colour=_COLOURS[int(page.photometric)],
    )


def _is_behind(page: Any, level: Level) -> bool:
    """Say whether a page holds a level as tiles of baseline JPEG, RGB or YCbCr, 8 bits each."""
    return (
        page.is_tiled
        and (page.imagewidth, page.imagelength) == (level.width, level.height)
        and (page.tilewidth, page.tilelength) == (level.tile_width, level.tile_height)
        and (int(page.compression), int(page.planarconfig)) == (_JPEG, 1)
        and (page.samplesperpixel, page.bitspersample) == (3, 8)
        and int(page.photometric) in _COLOURS
    )
