"""A slide as everyone else sees it: one plane in base pixels, read at any resolution.

Pyramid levels never leave this module. Label and macro images are never opened.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Mpp, Region
from wsi_vit.slides.blocks import Blocks
from wsi_vit.slides.files import is_tiff, usable_file
from wsi_vit.slides.jpeg.level import StoredLevel
from wsi_vit.slides.jpeg.pixels import CACHE_BYTES
from wsi_vit.slides.jpeg.stored import Extent, stored_tiles
from wsi_vit.slides.read_path import tiles_under
from wsi_vit.slides.readers.openslide_reader import OpenSlideReader
from wsi_vit.slides.readers.planes import Plane, plane_for
from wsi_vit.slides.readers.reader import Level, Reader
from wsi_vit.slides.readers.tifffile_reader import TifffileReader, refuse_grey
from wsi_vit.slides.resolution import Resolution, ResolutionSection, resolve_mpp

_BLOCK_PX = 2048
"""Source pixels are fetched in blocks of about this side, so memory does not grow with a region."""


class Slide:
    """An open slide; a context manager, safe to read from several threads."""

    def __init__(
        self,
        path: Path,
        reader: Reader,
        resolution: Resolution,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.path = path
        self.resolution = resolution
        self._reader = reader
        self.stored = stored_tiles(path, reader)
        """The JPEG tiles behind the levels, where OpenSlide or tifffile would decode just these."""
        self._blocks = Blocks(reader, self.stored, cache_bytes=cache_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every handle; reading again opens it anew."""
        self._reader.close()
        if self.stored is not None:
            self.stored.close()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the full plane, in base pixels."""
        base = self.levels[0]
        return base.width, base.height

    @property
    def mpp(self) -> Mpp:
        """Micrometres per base pixel.

        Raises:
            SlideError: NO_MPP, where the slide was opened without one (`missing: warn`).
        """
        if self.resolution.is_known:
            return self.resolution.mpp
        raise SlideError(
            Reason.NO_MPP,
            "The resolution of the slide is not known",
            got=self.path.name,
            remedy="Fill the mpp column of the cohort with the scanner's micrometres per pixel",
        )

    @property
    def vendor(self) -> str:
        """Who wrote the file, in OpenSlide's words, or `tiff (...)`."""
        return self._reader.header.vendor

    @property
    def reader(self) -> str:
        """The library that reads it: `openslide` or `tifffile`."""
        return self._reader.name

    @property
    def levels(self) -> tuple[Level, ...]:
        """The stored resolutions, finest first."""
        return self._reader.header.levels

    @property
    def stored_levels(self) -> tuple[StoredLevel | None, ...]:
        """The JPEG tiles behind each level, None where it is stored otherwise."""
        return (None,) * len(self.levels) if self.stored is None else self.stored.levels

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Every resolution that can be read without resampling."""
        return self._blocks.planes

    @property
    def bounds(self) -> Region | None:
        """The scanned part of the plane, where the file names one; positions do not move by it."""
        return self._reader.header.bounds

    @property
    def background(self) -> tuple[int, int, int]:
        """RGB colour of what was not scanned."""
        return self._reader.header.background

    @property
    def objective(self) -> float | None:
        """Nominal objective power, for people; nothing is computed from it."""
        return self._reader.header.objective

    def read(self, region: Region, *, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Read a region, resampled to exactly this many pixels.

        The coarsest plane that is fine enough is read; each output pixel is the mean of the area it
        covers. What lies outside the slide or was not scanned has the background colour.

        Returns:
            RGB pixels (height_px, width_px, 3).

        Raises:
            SlideError: UNREADABLE_TILES; other regions can still be read.
        """
        out = np.empty((height_px, width_px, 3), np.uint8)
        self.read_into(out, region)
        return out

    def read_into(self, out: NDArray[np.uint8], region: Region) -> None:
        """Read a region as `read` does, into an RGB image (height, width, 3) that is there.

        Raises:
            SlideError: UNREADABLE_TILES; other regions can still be read.
        """
        pixels = self.read_rgbx(region, width_px=out.shape[1], height_px=out.shape[0])
        for channel in range(3):  # five times as fast as all three at once
            out[..., channel] = pixels[..., channel]

    def read_rgbx(self, region: Region, *, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Read a region as `read` does, but (height_px, width_px, 4): decoders work faster so.

        The fourth value of a pixel means nothing.

        Raises:
            SlideError: UNREADABLE_TILES; other regions can still be read.
        """
        if width_px < 1 or height_px < 1 or not (region.width > 0 and region.height > 0):
            raise ValueError(f"nothing to read: {region} as {width_px} x {height_px} px")
        step = region.width / width_px, region.height / height_px
        plane = self._plane(region, step)
        side = max(1, int(_BLOCK_PX * plane.downsample / max(step)))
        if max(width_px, height_px) <= side:
            corner, size = (region.x, region.y), (width_px, height_px)
            return self._blocks.read(plane, corner=corner, step=step, size=size)
        out = np.empty((height_px, width_px, 4), np.uint8)
        for top, left in _corners(height_px, width_px, side):
            part = out[top : top + side, left : left + side]
            corner = region.x + left * step[0], region.y + top * step[1]
            size = part.shape[1], part.shape[0]
            part[:] = self._blocks.read(plane, corner=corner, step=step, size=size)
        return out

    def extents(self, region: Region, *, width_px: int, height_px: int) -> list[Extent]:
        """Return where in its files lies what `read` would decode, in the order of the file.

        Empty where only the library that reads the slide knows.
        """
        plane = self._plane(region, (region.width / width_px, region.height / height_px))
        stored = self.stored_levels[plane.level]
        if stored is None:
            return []
        under = tiles_under([region], self.levels[plane.level], stored)
        places = zip(stored.offsets[under].tolist(), stored.counts[under].tolist(), strict=True)
        return [(stored.path, *place) for place in sorted(places)]

    def announce(self, extents: Iterable[Extent]) -> None:
        """Tell the system what will be read soon, so that a slow disk begins with it at once."""
        if self.stored is not None:
            self.stored.announce(extents)

    def thumbnail(self, *, longest_px: int) -> NDArray[np.uint8]:
        """Return the whole plane (h, w, 3), its longer side that many pixels (never enlarged).

        Raises:
            SlideError: UNREADABLE_TILES.
        """
        width, height = self.size
        scale = min(1.0, longest_px / max(width, height))
        across, down = max(1, round(width * scale)), max(1, round(height * scale))
        return self.read(Region(0, 0, width, height), width_px=across, height_px=down)

    def read_native(self, level: Level, column: int, row: int) -> NDArray[np.uint8]:
        """Read one stored piece of a level as RGB, to see whether it can be decoded.

        Raises:
            SlideError: UNREADABLE_TILES.
        """
        x, y = column * level.tile_width, row * level.tile_height
        width = min(level.tile_width, level.width - x)
        height = min(level.tile_height, level.height - y)
        pixels = self._blocks.read(
            self._blocks.whole(self.levels.index(level)),
            corner=(x * level.downsample, y * level.downsample),
            step=(level.downsample, level.downsample),
            size=(width, height),
        )
        return np.ascontiguousarray(pixels[..., :3])

    def _plane(self, region: Region, step: tuple[float, float]) -> Plane:
        """Return what a region is read from; a step is an output pixel in base pixels."""
        return plane_for(self.planes, min(step), corner=(region.x, region.y))


def open_slide(
    path: Path,
    *,
    mpp: float | None = None,
    resolution: ResolutionSection | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Slide:
    """Open a slide for reading; use it in a `with` block.

    Args:
        path: The slide's file.
        mpp: Micrometres per base pixel from the cohort; wins over what the file says.
        resolution: What is believable, and what to do without; refuses by default.
        cache_bytes: Decoded JPEG tiles that the slide keeps, for neighbours that share them.

    Raises:
        SlideError: The file is missing, no slide, damaged, absurd in size, not RGB, or its
            resolution is missing, absurd or differs between x and y. The reason code says which.
    """
    path = usable_file(Path(path))
    reader = _reader_for(path)
    try:
        resolved = resolve_mpp(
            reader.header.stated,
            override=mpp,
            section=resolution or ResolutionSection(),
            slide=path.name,
        )
    except SlideError:
        reader.close()
        raise
    return Slide(path, reader, resolved, cache_bytes=cache_bytes)


def _reader_for(path: Path) -> Reader:
    """Open with OpenSlide; with tifffile what OpenSlide refuses or would read without pyramid."""
    try:
        reader = OpenSlideReader(path)
    except SlideError as refusal:
        if refusal.reason is Reason.ABSURD_SIZE or not is_tiff(path):
            raise
        return TifffileReader(path)
    if reader.header.is_flat_ome:
        reader.close()
        return TifffileReader(path)
    if reader.header.vendor == "generic-tiff":
        _close_if_grey(reader, path)
    return reader


def _close_if_grey(reader: Reader, path: Path) -> None:
    """Refuse what OpenSlide would paint in greys.

    Raises:
        SlideError: NOT_RGB.
    """
    try:
        refuse_grey(path)
    except SlideError:
        reader.close()
        raise


def _corners(height: int, width: int, side: int) -> Iterator[tuple[int, int]]:
    """Yield the top left corners of blocks, row by row."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield top, left
