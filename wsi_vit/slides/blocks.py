"""Blocks of pixels at any position and step, from the JPEG tiles or through the slide's reader."""

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.jpeg.pixels import JpegPixels, NotThisWayError
from wsi_vit.slides.jpeg.stored import StoredTiles
from wsi_vit.slides.readers.planes import Plane, is_whole, planes_of
from wsi_vit.slides.readers.reader import Reader
from wsi_vit.slides.resample import resample

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of a plane."""
Way = Literal["tiles", "reader"]


class Blocks:
    """Fetches and resamples; memory does not grow with the slide."""

    def __init__(self, reader: Reader, tiles: StoredTiles | None, *, cache_bytes: int) -> None:
        self._reader = reader
        self._jpeg = None if tiles is None else JpegPixels(tiles, cache_bytes=cache_bytes)
        levels = reader.header.levels
        behind = [None] * len(levels) if tiles is None else tiles.levels
        self.planes = planes_of(levels, [level is not None for level in behind])
        """Every resolution that can be read without resampling."""

    def whole(self, level: int) -> Plane:
        """Return a stored level as the plane it is."""
        return next(plane for plane in self.planes if (plane.level, plane.factor) == (level, 1))

    def read(
        self,
        plane: Plane,
        *,
        corner: tuple[float, float],
        step: tuple[float, float],
        size: tuple[int, int],
    ) -> Pixels:
        """Return RGBX pixels (height, width, 4) resampled from a plane.

        Where its JPEG tiles do not serve, the level behind it is read through the slide's reader.

        Args:
            plane: Where from.
            corner: Top left corner, (x, y) in base pixels.
            step: Size of an output pixel in base pixels, (x, y).
            size: Output (width, height) in pixels.

        Raises:
            SlideError: UNREADABLE_TILES.
        """
        for way, served in self._ways(plane):
            box, start, steps = _source(served, corner, step, size)
            with suppress(NotThisWayError):
                source = self._framed(way, served, box)
                return resample(source, start=start, step=steps, size=size)
        raise AssertionError("a slide's reader always serves")

    def _ways(self, plane: Plane) -> Iterator[tuple[Way, Plane]]:
        """Yield how a plane may be read, best first; the last one always serves."""
        whole = self.whole(plane.level)
        if self._jpeg is not None:
            yield "tiles", plane
            if whole != plane:
                yield "tiles", whole
        yield "reader", whole

    def _framed(self, way: Way, plane: Plane, box: Box) -> Pixels:
        """Return the pixels of a box; beyond the slide's edges lies background."""
        x, y, width, height = box
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, plane.width), min(y + height, plane.height)
        inside = left, top, right - left, bottom - top
        if plane.is_clipped and (right < x + width or bottom < y + height):
            raise NotThisWayError
        if inside == box:
            return self._fetched(way, plane, box)
        out = np.empty((height, width, 4), np.uint8)
        out[:] = (*self._reader.header.background, 255)
        if right > left and bottom > top:
            part = self._fetched(way, plane, inside)
            out[top - y : bottom - y, left - x : right - x] = part
        return out

    def _fetched(self, way: Way, plane: Plane, box: Box) -> Pixels:
        if way == "tiles" and self._jpeg is not None:
            return self._jpeg.read(plane.level, plane.factor, box)
        return self._on_background(self._reader.read(plane.level, *box))

    def _on_background(self, pixels: Pixels) -> Pixels:
        """Composite RGBA onto the background colour; what was not scanned is never black."""
        alpha = pixels[..., 3:]
        if alpha.min() == 255:
            return pixels
        weight = alpha.astype(np.uint16)
        ground = np.array([*self._reader.header.background, 255], np.uint16)
        return ((pixels * weight + ground * (255 - weight) + 127) // 255).astype(np.uint8)


def _source(
    plane: Plane, corner: tuple[float, float], step: tuple[float, float], size: tuple[int, int]
) -> tuple[Box, tuple[float, float], tuple[float, float]]:
    """Return the box of a plane that a block needs, and where in it the block starts and steps."""
    scale = plane.downsample
    start = _near(corner[0] / scale), _near(corner[1] / scale)
    steps = _near(step[0] / scale), _near(step[1] / scale)
    margin = 1 if min(steps) < 1 else 0  # interpolation looks beside what it covers, means do not
    x, y = (math.floor(value) - margin for value in start)
    right, bottom = (math.ceil(start[axis] + steps[axis] * size[axis]) + margin for axis in (0, 1))
    return (x, y, right - x, bottom - y), (start[0] - x, start[1] - y), steps


def _near(value: float) -> float:
    """Return the whole number that a value is, but for rounding."""
    return float(round(value)) if is_whole(value) else value
