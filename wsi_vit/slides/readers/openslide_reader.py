"""Slides through OpenSlide: the only importer of it."""

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.readers.ome import is_ome, ome_mpp
from wsi_vit.slides.readers.reader import WHITE, Header, Level, refuse_absurd_size, unreadable_tiles
from wsi_vit.slides.resolution import ResolutionSource, StatedMpp

if TYPE_CHECKING:
    from openslide import OpenSlide

_MICRONS_PER_UNIT = {"inch": 25_400.0, "centimeter": 10_000.0}
_SOURCES: dict[str, ResolutionSource] = {"generic-tiff": "tiff", "dicom": "dicom"}
"""Whose word `openslide.mpp-x` is; a vendor's own otherwise."""


class OpenSlideReader:
    """A slide that OpenSlide opens, with one handle a thread.

    OpenSlide remembers an error for ever: one bad tile would make every later read of the handle
    fail. A handle that failed is closed and the next call opens a fresh one.
    """

    name = "openslide"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open: dict[int, OpenSlide] = {}
        self.header = _header(self._handle(), path)
        for level in self.header.levels[:1]:
            refuse_absurd_size(level.width, level.height, _bytes_behind(path), path.name)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return RGBA pixels (height, width, 4) of a level, x and y in that level's pixels."""
        from openslide import OpenSlideError

        downsample = self.header.levels[level].downsample
        corner = (round(x * downsample), round(y * downsample))
        try:
            return np.asarray(self._handle().read_region(corner, level, (width, height)))
        except OpenSlideError as error:
            self._drop()
            raise unreadable_tiles(self.path.name, error) from error

    def close(self) -> None:
        """Close every thread's handle."""
        with self._lock:
            handles, self._open = list(self._open.values()), {}
        for handle in handles:
            handle.close()
        self._mine = threading.local()

    def _handle(self) -> "OpenSlide":
        if not hasattr(self._mine, "handle"):
            self._mine.handle = _opened(self.path)
            with self._lock:
                self._open[id(self._mine.handle)] = self._mine.handle
        return self._mine.handle

    def _drop(self) -> None:
        handle = self._mine.handle
        del self._mine.handle
        with self._lock:
            self._open.pop(id(handle), None)
        handle.close()


def library_version() -> str:
    """Return the version of the OpenSlide library.

    Raises:
        ImportError: The binding or the library is missing.
        OSError: The library does not load.
    """
    import openslide

    return openslide.__library_version__


def _opened(path: Path) -> "OpenSlide":
    """Open a handle, translating what OpenSlide raises."""
    from openslide import OpenSlide, OpenSlideError, OpenSlideUnsupportedFormatError

    try:
        return OpenSlide(path)
    except OpenSlideUnsupportedFormatError as error:
        raise SlideError(
            Reason.NOT_A_SLIDE,
            "No slide format that OpenSlide knows",
            got=path.name,
            remedy="Export the slide as SVS, DICOM or pyramidal TIFF, or leave it out",
        ) from error
    except OpenSlideError as error:
        raise SlideError(
            Reason.UNREADABLE,
            f"OpenSlide cannot open the slide: {error}",
            got=path.name,
            remedy="Copy it from the scanner again, or export it as SVS, DICOM or pyramidal TIFF",
        ) from error


def _header(handle: "OpenSlide", path: Path) -> Header:
    said = handle.properties
    return Header(
        vendor=said.get("openslide.vendor", "unknown"),
        levels=tuple(_levels(handle)),
        stated=tuple(_stated(said)),
        bounds=_bounds(said, path),
        background=_background(said.get("openslide.background-color")),
        objective=_number(said.get("openslide.objective-power")),
        is_flat_ome=handle.level_count == 1 and is_ome(said.get("tiff.ImageDescription", "")),
    )


def _levels(handle: "OpenSlide") -> list[Level]:
    said = handle.properties
    return [
        Level(
            width=width,
            height=height,
            downsample=float(downsample),
            tile_width=int(said.get(f"openslide.level[{index}].tile-width", width)),
            tile_height=int(said.get(f"openslide.level[{index}].tile-height", height)),
        )
        for index, ((width, height), downsample) in enumerate(
            zip(handle.level_dimensions, handle.level_downsamples, strict=True)
        )
    ]


def _stated(said: Mapping[str, str]) -> list[StatedMpp]:
    """List what the properties say, best source first: vendor, TIFF tags, OME-XML, DICOM."""
    source = _SOURCES.get(said.get("openslide.vendor", ""), "vendor")
    found = [
        _pair(said.get("openslide.mpp-x"), said.get("openslide.mpp-y"), source),
        _from_tags(said),
        ome_mpp(said.get("tiff.ImageDescription", "")),
    ]
    order: list[ResolutionSource] = ["vendor", "tiff", "ome", "dicom"]
    claims = {claim.source: claim for claim in reversed(found) if claim}
    return [claims[source] for source in order if source in claims]


def _from_tags(said: Mapping[str, str]) -> StatedMpp | None:
    per_unit = _MICRONS_PER_UNIT.get(said.get("tiff.ResolutionUnit", ""))
    x, y = (_number(said.get(f"tiff.{axis}Resolution")) for axis in "XY")
    return StatedMpp(per_unit / x, per_unit / y, "tiff") if per_unit and x and y else None


def _pair(x: str | None, y: str | None, source: ResolutionSource) -> StatedMpp | None:
    values = _number(x), _number(y)
    return StatedMpp(values[0], values[1], source) if values[0] and values[1] else None


def _number(text: str | None) -> float | None:
    """Return a finite number, None where the text is none."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _bounds(said: Mapping[str, str], path: Path) -> Region | None:
    keys = ("x", "y", "width", "height")
    values: list[Any] = [_number(said.get(f"openslide.bounds-{key}")) for key in keys]
    if None in values:
        return None
    if values[2] <= 0 or values[3] <= 0:
        raise SlideError(
            Reason.ABSURD_SIZE,
            "The scanned part of the slide is empty",
            got=path.name,
            remedy="Export the slide from the scanner again",
        )
    return Region(*values)


def _background(text: str | None) -> tuple[int, int, int]:
    """Read RRGGBB; white where the slide names no colour."""
    try:
        red, green, blue = bytes.fromhex((text or "").lstrip("#"))
    except ValueError:
        return WHITE
    return red, green, blue


def _bytes_behind(path: Path) -> int:
    """Return the bytes of the slide with its companion files."""
    from wsi_vit.slides.files import companions

    return sum(item.stat().st_size for item in (path, *companions(path)))
