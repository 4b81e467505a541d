"""How the tiles of a grid are got from a slide, and what that takes: arithmetic only.

- `copied`: the grid is the slide's own tiling, so the scanner's JPEG is kept as it is.
- `decoded`: stored JPEG tiles are decoded, at full size or scaled down while decoding, resampled
  where that is not yet the resolution asked for, and encoded once.
- `region`: OpenSlide or tifffile gives the pixels; for everything else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.geometry import Region
from wsi_vit.section import Section
from wsi_vit.slides.areas import Boxes, boxes_of
from wsi_vit.slides.grid import StoredTiling, TileGrid
from wsi_vit.slides.jpeg.level import StoredLevel
from wsi_vit.slides.readers.planes import Plane, plane_for
from wsi_vit.slides.readers.reader import Level

_SAME = 1e-9
_TILE_PX = 256 * 256
_US_COPY, _US_COPY_KB = 12.0, 0.7
"""CPU microseconds for a tile that is kept, and for each of its kilobytes."""
_US_DECODE = {1: 250.0, 2: 185.0, 4: 165.0, 8: 140.0}
"""For the pixels of a stored tile of 256 px, by the factor they are scaled down by."""
_US_ENCODE, _US_RESAMPLE, _US_REGION = 320.0, 350.0, 1300.0
"""For 256 x 256 pixels: encoding with the measure of sharpness; resampling, of source pixels; and
OpenSlide's region, of source pixels. From one core of a two-core x86-64 machine."""


class ReadPath(Section):
    """How tiles are got; the same for a whole slide, but for tiles that leave no other way."""

    kind: Literal["copied", "decoded", "region"]
    level: int
    """Of the pyramid, 0 the finest."""
    factor: Literal[1, 2, 4, 8] = 1
    """By how much JPEG tiles are scaled down while they are decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What some tiles take, before one is read."""

    tiles: int
    copied: int
    """Of them, how many keep the scanner's bytes."""
    stored: int
    """Stored tiles that are decoded, each once."""
    read_bytes: int
    """Of stored tiles; 0 where only the reader knows."""
    cpu_s: float
    """On one core of the machine the rates were measured on."""


def own_tilings(
    levels: Sequence[Level], stored: Sequence[StoredLevel | None]
) -> list[StoredTiling]:
    """List the levels that store square JPEG tiles, as tilings of the slide."""
    return [
        StoredTiling(level.tile_width, level.downsample)
        for level, behind in zip(levels, stored, strict=True)
        if behind is not None and level.tile_width == level.tile_height
    ]


def choose_path(
    grid: TileGrid,
    levels: Sequence[Level],
    stored: Sequence[StoredLevel | None],
    planes: Sequence[Plane],
) -> ReadPath:
    """Choose how the tiles of a grid are got.

    Args:
        grid: The tiles, from the slide's top left corner on.
        levels: The slide's pyramid.
        stored: The JPEG tiles behind each level, None where there are none.
        planes: What can be read without resampling, see `planes`.
    """
    for number, (level, behind) in enumerate(zip(levels, stored, strict=True)):
        if behind is not None and _is_own(grid, level):
            return ReadPath(kind="copied", level=number)
    plane = plane_for(planes, grid.side / grid.tile_px, corner=(grid.stride, grid.stride))
    kind = "region" if stored[plane.level] is None else "decoded"
    return ReadPath.model_validate({"kind": kind, "level": plane.level, "factor": plane.factor})


def _is_own(grid: TileGrid, level: Level) -> bool:
    """Say whether a grid's tiles are the stored ones, one by one."""
    own = grid.tile_px * level.downsample
    return (
        level.tile_width == level.tile_height == grid.tile_px
        and grid.stride == grid.side
        and abs(grid.side - own) <= _SAME * own
    )


def own_tiles(grid: TileGrid, boxes: Boxes, level: StoredLevel) -> NDArray[np.int64]:
    """Return which stored tile each wanted tile is, -1 where it leaves the slide.

    Only for a grid that `choose_path` says is `copied`.
    """
    column, row = np.rint(boxes[:, :2].T / grid.stride).astype(np.int64)
    inside = ((column + 1) * level.tile_width <= level.width) & (
        (row + 1) * level.tile_height <= level.height
    )
    return np.where(inside, row * level.columns + column, -1)


def work_of(
    path: ReadPath,
    grid: TileGrid,
    regions: Sequence[Region],
    level: Level,
    stored: StoredLevel | None,
) -> Work:
    """Return what it takes to get the tiles of some regions of a slide.

    Args:
        path: How they are got.
        grid: Where they come from.
        regions: The wanted ones.
        level: The level of the path.
        stored: The JPEG tiles behind it.
    """
    if path.kind == "copied" and stored is not None:
        own = own_tiles(grid, boxes_of(regions), stored)
        kept = own[own >= 0]
        read = int(stored.counts[kept].sum())
        micros = len(kept) * _US_COPY + read / 1e3 * _US_COPY_KB
        micros += (len(own) - len(kept)) * _encoded_us(grid, level.downsample, _US_REGION)
        return Work(tiles=len(own), copied=len(kept), stored=0, read_bytes=read, cpu_s=micros / 1e6)
    if path.kind == "decoded" and stored is not None:
        used = tiles_under(regions, level, stored)
        each = stored.tile_width * stored.tile_height / _TILE_PX * _US_DECODE[path.factor]
        micros = len(used) * each
        micros += len(regions) * _encoded_us(grid, level.downsample * path.factor, 0.0)
        read = int(stored.counts[used].sum())
        return Work(
            tiles=len(regions), copied=0, stored=len(used), read_bytes=read, cpu_s=micros / 1e6
        )
    micros = len(regions) * _encoded_us(grid, level.downsample, _US_REGION)
    return Work(tiles=len(regions), copied=0, stored=0, read_bytes=0, cpu_s=micros / 1e6)


def _encoded_us(grid: TileGrid, downsample: float, reading_us: float) -> float:
    """Return what one tile takes once its source pixels are there, or with reading them."""
    step = grid.side / grid.tile_px / downsample
    resampling = 0.0 if abs(step - 1) < _SAME else _US_RESAMPLE
    pixels = grid.tile_px**2 / _TILE_PX
    return pixels * (step**2 * (reading_us + resampling) + _US_ENCODE)


def tiles_under(regions: Sequence[Region], level: Level, stored: StoredLevel) -> NDArray[np.int64]:
    """Return the stored tiles that some regions lie on, each once, in order."""
    rows = -(-stored.height // stored.tile_height)
    wide, high = stored.tile_width * level.downsample, stored.tile_height * level.downsample
    used = np.zeros((rows, stored.columns), np.bool_)
    for region in regions:
        left, top = (math.floor(v + _SAME) for v in (region.x / wide, region.y / high))
        right, bottom = (math.ceil(v - _SAME) for v in (region.right / wide, region.bottom / high))
        used[top:bottom, left:right] = True
    return np.flatnonzero(used)
