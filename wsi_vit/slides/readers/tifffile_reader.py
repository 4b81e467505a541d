"""TIFF slides that OpenSlide refuses, or reads less of, through tifffile: the only importer of it.

Strips, OME-TIFF with its pyramid in SubIFDs, and compressions such as WebP, JPEG XL or zstd. Only
8-bit RGB is a bright-field slide: fluorescence channels are refused, never painted as if they were
stains.
"""

import logging
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.slides.readers.ome import ome_mpp
from wsi_vit.slides.readers.reader import Header, Level, refuse_absurd_size, unreadable_tiles
from wsi_vit.slides.resolution import StatedMpp

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_MICRONS_PER_UNIT = {2: 25_400.0, 3: 10_000.0}
_CODECS_OF_YCBCR = frozenset({6, 7, 33007, 33004, 33005, 34712, 34892, 34927, 50001})
"""JPEG, JPEG 2000 and WebP, whose decoders give RGB; what is stored plainly would stay YCbCr."""
_APERIO_YCBC = 33003
"""Aperio's JPEG 2000 in YCbCr, which its tags do not always say; OpenSlide knows how to read it."""
_ASSOCIATED, _SEPARATE = 1, 2
"""Kinds of alpha (TIFF 6.0, ExtraSamples): colours multiplied by it, or not."""
_LARGEST_PIECE_BYTES = 256 << 20
"""A strip or tile that decodes to more is refused: the file was not made to be read in parts."""

logging.getLogger("tifffile").addHandler(logging.NullHandler())


class TifffileReader:
    """A TIFF whose first series is 8-bit RGB, with one handle a thread.

    Later series (labels, macro images) are never decoded.
    """

    name = "tifffile"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: list[TiffFile] = []
        try:
            series = self._series()
            _refuse_other_than_rgb(series, path)
            self.header = _header(series, path)
        except SlideError:
            self.close()
            raise
        except decoding_errors() as error:
            self.close()
            raise _damaged(path, error) from error

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return RGBA pixels (height, width, 4) of a level, x and y in that level's pixels."""
        out = np.zeros((height, width, 4), np.uint8)
        try:
            page: Any = self._series().levels[level].pages[0]
            for index in _pieces(page, (x, y, width, height)):
                _paste(page, index, (x, y), out)
            if _alpha_kind(page) == _ASSOCIATED:
                _divide_by_alpha(out)
        except decoding_errors() as error:
            why = f"{type(error).__name__}: {error}"
            raise unreadable_tiles(self.path.name, why) from error
        return out

    def close(self) -> None:
        """Close every thread's handle."""
        with self._lock:
            handles, self._open = self._open, []
        for handle in handles:
            handle.close()
        self._mine = threading.local()

    def _series(self) -> "TiffPageSeries":
        if not hasattr(self._mine, "series"):
            from tifffile import TiffFile

            handle = TiffFile(self.path)
            with self._lock:
                self._open.append(handle)
            if not handle.series:
                raise _damaged(self.path, "it holds no image")
            self._mine.series = handle.series[0]
        return self._mine.series


def decoding_errors() -> tuple[type[Exception], ...]:
    """List what tifffile and its codecs raise on bytes that are not what the header says."""
    import struct

    from imagecodecs import DelayedImportError
    from tifffile import TiffFileError

    return (
        TiffFileError, DelayedImportError, RuntimeError, ValueError, TypeError, LookupError,
        AttributeError, OSError, struct.error, ArithmeticError, MemoryError,
    )  # fmt: skip


def _refuse_other_than_rgb(series: "TiffPageSeries", path: Path) -> None:
    """Refuse what is no 8-bit RGB picture, saying what it is."""
    page: Any = series.keyframe
    if _is_colour(page) and page.dtype == np.uint8 and series.axes.replace("S", "") == "YX":
        return
    names = _channel_names(series)
    channels = f"{len(series.pages)} page(s) of {page.samplesperpixel} sample(s)"
    raise SlideError(
        Reason.NOT_RGB,
        "No bright-field RGB slide of 8 bits a channel",
        got=f"{path.name}: {channels}, {page.photometric.name.lower()}, {page.dtype}, "
        f"axes {series.axes}{', channels ' + ', '.join(names) if names else ''}",
        remedy="Leave fluorescence out of the cohort, or export the slide as 8-bit RGB",
    )


def refuse_grey(path: Path) -> None:
    """Refuse a TIFF whose first picture is grey or deeper than 8 bits.

    OpenSlide paints one channel of fluorescence, or a label image, in greys as if it were a slide.

    Raises:
        SlideError: NOT_RGB.
    """
    from tifffile import TiffFile

    try:
        with TiffFile(path) as handle:
            page: Any = handle.pages[0]
            grey = page.photometric.name in {"MINISBLACK", "MINISWHITE"}
            if grey or page.bitspersample > 8:
                _refuse_other_than_rgb(handle.series[0], path)
    except decoding_errors():
        return  # OpenSlide could read it, and says so of its pixels


def _is_colour(page: Any) -> bool:
    """Say whether decoding gives RGB; only JPEG's decoder turns YCbCr into it."""
    if page.samplesperpixel not in (3, 4):
        return False
    kind, codec = page.photometric.name, page.compression
    return (kind == "RGB" and codec != _APERIO_YCBC) or (
        kind == "YCBCR" and codec in _CODECS_OF_YCBCR
    )


def _channel_names(series: "TiffPageSeries") -> list[str]:
    """Return the channels' names where PerkinElmer's or OME's description gives them."""
    texts = [str(getattr(page, "description", "") or "") for page in series.pages if page]
    found = [re.search(r"<Name>([^<]{1,40})</Name>", text) for text in texts]
    listed = re.findall(r"<Channel[^>]*\bName=\"([^\"]{1,40})\"", texts[0] if texts else "")
    return listed or [match.group(1) for match in found if match]


def _header(series: "TiffPageSeries", path: Path) -> Header:
    base: Any = series.keyframe
    refuse_absurd_size(base.imagewidth, base.imagelength, path.stat().st_size, path.name)
    levels = []
    for item in series.levels:
        page: Any = item.keyframe
        _refuse_unknown_compression(page, path)
        _refuse_huge_pieces(page, path)
        levels.append(
            Level(
                width=page.imagewidth,
                height=page.imagelength,
                downsample=(base.imagewidth / page.imagewidth + base.imagelength / page.imagelength)
                / 2,
                tile_width=page.tilewidth or page.imagewidth,
                tile_height=page.tilelength or page.rowsperstrip or page.imagelength,
            )
        )
    stated = tuple(claim for claim in (_from_tags(base), ome_mpp(base.description)) if claim)
    return Header(vendor=f"tiff ({series.kind})", levels=tuple(levels), stated=stated)


def _refuse_unknown_compression(page: Any, path: Path) -> None:
    from tifffile import TIFF

    if page.compression not in TIFF.DECOMPRESSORS:
        raise _damaged(path, f"compression {int(page.compression)} is not known")


def _refuse_huge_pieces(page: Any, path: Path) -> None:
    width, height, _ = _piece_shape(page)
    if width * height * page.samplesperpixel <= _LARGEST_PIECE_BYTES:
        return
    raise SlideError(
        Reason.ABSURD_SIZE,
        "The picture is stored in one piece too large to be read in parts",
        got=f"pieces of {width} x {height} px in {path.name}",
        remedy="Export it as a tiled pyramidal TIFF",
    )


def _from_tags(page: "TiffPage") -> StatedMpp | None:
    """Return what the resolution tags say; without a length unit they say nothing."""
    tags = page.tags
    unit = tags.valueof("ResolutionUnit", 2)
    per_unit = _MICRONS_PER_UNIT.get(int(unit))
    rates = [tags.valueof(f"{axis}Resolution") for axis in "XY"]
    if per_unit is None or not all(rate and rate[0] and rate[1] for rate in rates):
        return None
    x, y = (per_unit * rate[1] / rate[0] for rate in rates)
    return StatedMpp(x, y, "tiff")


def _piece_shape(page: Any) -> tuple[int, int, int]:
    """Return width and height of a stored piece, and how many lie side by side."""
    if page.is_tiled:
        return page.tilewidth, page.tilelength, -(-page.imagewidth // page.tilewidth)
    return page.imagewidth, min(page.rowsperstrip or page.imagelength, page.imagelength), 1


def _pieces(page: Any, box: tuple[int, int, int, int]) -> list[int]:
    """List the pieces under a rectangle; planar files store the colours one after the other."""
    x, y, width, height = box
    piece_width, piece_height, across = _piece_shape(page)
    down = -(-page.imagelength // piece_height)
    rows = range(y // piece_height, (y + height - 1) // piece_height + 1)
    columns = range(x // piece_width, (x + width - 1) // piece_width + 1)
    planes = range(page.samplesperpixel if page.planarconfig == 2 else 1)
    return [
        (plane * down + row) * across + column
        for plane in planes
        for row in rows
        for column in columns
    ]


def _paste(page: Any, index: int, corner: tuple[int, int], out: NDArray[np.uint8]) -> None:
    """Decode one piece into the picture; a piece that is not stored stays transparent."""
    if index >= len(page.databytecounts):
        raise ValueError(f"piece {index} of {len(page.databytecounts)}")
    if page.databytecounts[index] == 0:
        return
    handle = page.parent.filehandle
    handle.seek(page.dataoffsets[index])
    stored = handle.read(page.databytecounts[index])
    pixels, (sample, _, top, left, _), _ = page.decode(stored, index, jpegtables=page.jpegtables)
    if pixels is None:
        return
    meant = 4 if _alpha_kind(page) else 3
    if sample < meant:
        _place(pixels[0, ..., :meant], (left - corner[0], top - corner[1]), sample, out)


def _place(
    pixels: NDArray[np.uint8], at: tuple[int, int], sample: int, out: NDArray[np.uint8]
) -> None:
    """Copy the part of a decoded piece that lies inside the picture, and make it opaque."""
    x, y = at
    left, top = max(x, 0), max(y, 0)
    right = min(x + pixels.shape[1], out.shape[1])
    bottom = min(y + pixels.shape[0], out.shape[0])
    part = pixels[top - y : bottom - y, left - x : right - x]
    if part.shape[2] == 1:
        out[top:bottom, left:right, sample] = part[..., 0]
    else:
        out[top:bottom, left:right, : part.shape[2]] = part
    if part.shape[2] != 4 and sample < 3:
        out[top:bottom, left:right, 3] = 255


def _alpha_kind(page: Any) -> int:
    """Return the kind of alpha, 0 for none.

    A fourth sample that is not said to be alpha is some other measurement: it hides nothing.
    """
    kind = int(page.extrasamples[0]) if page.extrasamples else 0
    return kind if page.samplesperpixel == 4 and kind in (_ASSOCIATED, _SEPARATE) else 0


def _divide_by_alpha(out: NDArray[np.uint8]) -> None:
    """Turn colours that were multiplied by alpha into plain ones, in place."""
    alpha = np.maximum(out[..., 3:], 1).astype(np.uint16)
    out[..., :3] = np.minimum((out[..., :3] * np.uint16(255) + alpha // 2) // alpha, 255)


def _damaged(path: Path, why: object) -> SlideError:
    return SlideError(
        Reason.UNREADABLE,
        f"A TIFF that cannot be read: {why}",
        got=path.name,
        remedy="Copy it from the scanner again; compare its size and checksum",
    )
