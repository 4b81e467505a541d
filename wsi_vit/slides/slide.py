"""A slide as everyone else sees it: one plane in base pixels, read at any resolution.

Pyramid levels never leave this module. Label and macro images are never opened.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Mpp, Region
from wsi_vit.slides.files import is_tiff, usable_file
from wsi_vit.slides.openslide_reader import OpenSlideReader
from wsi_vit.slides.reader import Level, Reader
from wsi_vit.slides.resample import resample
from wsi_vit.slides.resolution import Resolution, ResolutionSection, resolve_mpp
from wsi_vit.slides.tifffile_reader import TifffileReader, refuse_grey

_BLOCK_PX = 2048
"""Source pixels are fetched in blocks of about this side, so memory does not grow with a region."""
_LEVEL_SLACK = 1.01
"""A level that is coarser than asked by less than this is taken: 4.0005 serves for 4."""


class Slide:
    """An open slide; a context manager, safe to read from several threads."""

    def __init__(self, path: Path, reader: Reader, resolution: Resolution) -> None:
        self.path = path
        self.resolution = resolution
        self._reader = reader

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

        The coarsest level that is fine enough is read; each output pixel is the mean of the area it
        covers. What lies outside the plane or was not scanned has the background colour.

        Returns:
            RGB pixels (height_px, width_px, 3).

        Raises:
            SlideError: UNREADABLE_TILES; other regions can still be read.
        """
        if width_px < 1 or height_px < 1 or not (region.width > 0 and region.height > 0):
            raise ValueError(f"nothing to read: {region} as {width_px} x {height_px} px")
        step = region.width / width_px, region.height / height_px
        level = self._level_for(min(step))
        out = np.empty((height_px, width_px, 3), np.uint8)
        side = max(1, int(_BLOCK_PX * self.levels[level].downsample / max(step)))
        for top, left in _corners(height_px, width_px, side):
            part = out[top : top + side, left : left + side]
            corner = region.x + left * step[0], region.y + top * step[1]
            part[:] = self._block(level, corner, step, (part.shape[1], part.shape[0]))
        return out

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
        return self._on_background(self._reader.read(self.levels.index(level), x, y, width, height))

    def _level_for(self, downsample: float) -> int:
        """Return the coarsest level that needs no enlarging, the finest where all do."""
        fits = [
            index
            for index, level in enumerate(self.levels)
            if level.downsample <= downsample * _LEVEL_SLACK
        ]
        return max(fits, key=lambda index: self.levels[index].downsample, default=0)

    def _block(
        self,
        level: int,
        corner: tuple[float, float],
        step: tuple[float, float],
        size: tuple[int, int],
    ) -> NDArray[np.uint8]:
        """Read one block: fetch the level's pixels around it with a margin, and resample."""
        scale = self.levels[level].downsample
        start = corner[0] / scale, corner[1] / scale
        steps = step[0] / scale, step[1] / scale
        margin = 0 if steps == (1, 1) and start[0].is_integer() and start[1].is_integer() else 1
        x, y = (math.floor(value) - margin for value in start)
        right, bottom = (
            math.ceil(start[axis] + steps[axis] * size[axis]) + margin for axis in (0, 1)
        )
        source = self._pixels(level, x, y, right - x, bottom - y)
        return resample(source, start=(start[0] - x, start[1] - y), step=steps, size=size)

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return RGB pixels of a level; beyond its edges lies background."""
        plane = self.levels[level]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, plane.width), min(y + height, plane.height)
        out = np.empty((height, width, 3), np.uint8)
        out[:] = self.background
        if right > left and bottom > top:
            read = self._reader.read(level, left, top, right - left, bottom - top)
            out[top - y : bottom - y, left - x : right - x] = self._on_background(read)
        return out

    def _on_background(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Composite RGBA onto the background colour; what was not scanned is never black."""
        colour, alpha = pixels[..., :3], pixels[..., 3:]
        if alpha.min() == 255:
            return colour
        weight = alpha.astype(np.uint16)
        ground = np.array(self.background, np.uint16)
        return ((colour * weight + ground * (255 - weight) + 127) // 255).astype(np.uint8)


def open_slide(
    path: Path, *, mpp: float | None = None, resolution: ResolutionSection | None = None
) -> Slide:
    """Open a slide for reading; use it in a `with` block.

    Args:
        path: The slide's file.
        mpp: Micrometres per base pixel from the cohort; wins over what the file says.
        resolution: What is believable, and what to do without; refuses by default.

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
    return Slide(path, reader, resolved)


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
