"""The JPEG tiles of a slide as they lie in its files: where, how long, what they need."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.files import is_tiff
from wsi_vit.slides.jpeg.level import StoredLevel
from wsi_vit.slides.jpeg.stream import Colour, Opening
from wsi_vit.slides.readers.dicom import dicom_levels
from wsi_vit.slides.readers.reader import Level, Reader

_JPEG = 7
_COLOURS: dict[int, Colour] = {2: "RGB", 6: "YCbCr"}
_PLAIN_VENDORS = frozenset({"aperio", "generic-tiff"})
"""Where OpenSlide shows a level exactly as the TIFF stores it: no gap, overlap or offset."""


_RUN = 256
"""Tiles that are read at once at most; systems take 1,024 pieces of memory, two a tile at most."""

Extent = tuple[Path, int, int]
"""A file, where bytes of it begin, and how many there are."""


class StoredTiles:
    """The files behind some levels, read by position: any thread may read at any time."""

    def __init__(self, path: Path, levels: tuple[StoredLevel | None, ...]) -> None:
        self.path = path
        self.levels = levels
        self._lock = threading.Lock()
        self._files: dict[Path, int] = {}

    def raw(self, level: StoredLevel, index: int) -> bytes:
        """Return the bytes of one tile as they are stored; empty where it is not."""
        file = self._opened(level.path)
        return os.pread(file, int(level.counts[index]), int(level.offsets[index]))

    def raws(self, level: StoredLevel, indices: NDArray[np.int64]) -> list[memoryview]:
        """Return the bytes of some tiles as they are stored; empty where one is not.

        Tiles that lie one behind the other in the file are read at once.
        """
        file, found = self._opened(level.path), list[memoryview]()
        offsets, counts = level.offsets[indices], level.counts[indices]
        for first, last in _runs(offsets, counts):
            sizes = counts[first:last]
            run = memoryview(os.pread(file, int(sizes.sum()), int(offsets[first])))
            ends = sizes.cumsum().tolist()
            found += [run[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]
        return found

    def spliced(
        self, level: StoredLevel, indices: NDArray[np.int64], opening: Opening
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
        """Return tiles that all open alike, made to stand alone, one after the other.

        The system puts each tile's compressed pixels where they belong, behind a header that lies
        there already: nothing is copied twice. Tiles that are stored as they must read come in as
        they lie, however many, in one piece.

        Returns:
            The bytes, and where each tile ends in them; None where one opens otherwise, or is not
            stored whole.
        """
        stored, head = opening.stored, opening.standalone
        offsets, counts = level.offsets[indices], level.counts[indices]
        if counts.min() <= len(stored):
            return None
        ends = np.cumsum(counts + (len(head) - len(stored)))
        data = np.empty(int(ends[-1]), np.uint8)
        runs, starts = list(_runs(offsets, counts)), [0, *ends.tolist()]
        sizes = np.add.reduceat(counts, [first for first, _ in runs]).tolist()
        if head == stored:
            room = data.data
            places = [[room[starts[first] : starts[last]]] for first, last in runs]
            heads = (bytes(room[start : start + len(stored)]) for start in starts[:-1])
        else:
            pieces = _behind_heads(data.data, starts, head, len(stored))
            places = [pieces[2 * first : 2 * last] for first, last in runs]
            heads = map(bytes, pieces[::2])
        file = self._opened(level.path)
        for (first, _), into, size in zip(runs, places, sizes, strict=True):
            if os.preadv(file, into, int(offsets[first])) != size:
                return None
        return (data, ends) if all(map(stored.__eq__, heads)) else None

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
        for path, offset, count in extents:
            os.posix_fadvise(self._opened(path), offset, count, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Close the files; reading again opens them anew."""
        with self._lock:
            handles, self._files = list(self._files.values()), {}
        for handle in handles:
            os.close(handle)

    def _opened(self, path: Path) -> int:
        if path not in self._files:
            with self._lock:
                if path not in self._files:
                    self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._files[path]


def _behind_heads(room: memoryview, starts: list[int], head: bytes, skip: int) -> list[memoryview]:
    """Write a header where each tile begins; return where what is stored of it goes, in two pieces.

    Args:
        room: Of all tiles.
        starts: Where each begins in it, and where the last ends.
        head: What is written.
        skip: Bytes of each stored tile that do not go behind it: they get a place of their own.
    """
    aside, pieces = memoryview(bytearray((len(starts) - 1) * skip)), list[memoryview]()
    for number, (start, end) in enumerate(pairwise(starts)):
        body = start + len(head)
        room[start:body] = head
        pieces += (aside[number * skip : (number + 1) * skip], room[body:end])
    return pieces


def _runs(offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield first and last (not included) of tiles that lie one behind the other in the file."""
    is_apart = offsets[1:] != (offsets + counts)[:-1]
    is_apart[_RUN - 1 :: _RUN] = True
    breaks = [0, *(np.flatnonzero(is_apart) + 1).tolist(), len(offsets)]
    return pairwise(breaks)


def stored_tiles(path: Path, reader: Reader) -> StoredTiles | None:
    """Find the JPEG tiles behind a reader's levels; None where not one level has such.

    Only offsets, lengths and tags are read. What cannot be understood is no error here: the reader
    can still read that level's pixels.
    """
    levels = _behind(path, reader)
    return StoredTiles(path, levels) if any(levels) else None


def _behind(path: Path, reader: Reader) -> tuple[StoredLevel | None, ...]:
    if reader.header.vendor == "dicom":
        return dicom_levels(path, reader.header.levels)
    is_plain = reader.name == "tifffile" or reader.header.vendor in _PLAIN_VENDORS
    return _of_tiff(path, reader) if is_plain and is_tiff(path) else ()


def _of_tiff(path: Path, reader: Reader) -> tuple[StoredLevel | None, ...]:
    from tifffile import TiffFile

    from wsi_vit.slides.readers.tifffile_reader import decoding_errors

    try:
        with TiffFile(path) as handle:
            return _levels(handle, reader, path)
    except decoding_errors():
        return ()


def _levels(handle: Any, reader: Reader, path: Path) -> tuple[StoredLevel | None, ...]:
    """Return what lies behind each of the reader's levels."""
    if reader.name == "tifffile":
        pages = [level.pages[0] for level in handle.series[0].levels]
    else:
        pages = list(handle.pages)
    file_bytes = handle.filehandle.size
    found = (_level(pages, level, file_bytes, path) for level in reader.header.levels)
    return tuple(found)


def _level(pages: Sequence[Any], level: Level, file_bytes: int, path: Path) -> StoredLevel | None:
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
        path=path,
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
