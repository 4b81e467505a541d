"""Where tiles lie on a slide: arithmetic only, no pixels."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from wsi_vit.geometry import Microns, Mpp, Region, to_base_pixels
from wsi_vit.section import Section

_SLACK = 1e-9
"""Relative: a tile that sticks out by less than a rounding error still fits."""


class GridSection(Section):
    """How a slide is cut."""

    tile_px: int = Field(ge=1, le=16384)
    """Side of a tile's image, in pixels."""
    mpp: float = Field(gt=0, allow_inf_nan=False)
    """Micrometres per pixel of a tile's image, met exactly but for `mpp_tolerance`."""
    mpp_tolerance: float = Field(default=0.01, ge=0, lt=0.1)
    """Where a slide stores tiles of `tile_px` at a resolution within this share of `mpp`, these are
    taken, so that the scanner's own JPEG is kept; what was got is recorded. Scanners know their own
    resolution no better. 0 meets `mpp` exactly on every slide."""
    overlap: float = Field(default=0.0, ge=0, lt=1)
    """Share of a side that neighbours have in common."""
    edge: Literal["drop", "pad"] = "drop"
    """Whether a tile that sticks out of the slide is left out or filled with background."""
    min_tissue: float = Field(default=0.5, ge=0, le=1)
    """Least share of tissue that keeps a tile."""


@dataclass(frozen=True, slots=True)
class StoredTiling:
    """Square tiles as a slide stores them, from the top left corner on."""

    tile_px: int
    downsample: float
    """Base pixels per stored pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """Square tiles laid over the whole plane, row by row from the top left."""

    tile_px: int
    side: float
    """Side of a tile in base pixels, not rounded."""
    stride: float
    """From one tile to the next, in base pixels, not rounded."""
    columns: int
    rows: int

    def __len__(self) -> int:
        return self.columns * self.rows

    def regions(self) -> Iterator[Region]:
        """Yield the tiles' regions in base pixels, row-major."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield self.region(column, row)

    def region(self, column: int, row: int) -> Region:
        """Return the region of one tile; products, not sums, so that no error builds up."""
        return Region(column * self.stride, row * self.stride, self.side, self.side)


def plan_grid(
    size: tuple[int, int], mpp: Mpp, section: GridSection, stored: Sequence[StoredTiling] = ()
) -> TileGrid:
    """Lay the tiles of a section over a slide of this size (width, height in base pixels).

    Where the slide stores such tiles itself, within the section's tolerance, these are the grid.
    """
    side = to_base_pixels(Microns(section.tile_px * section.mpp), mpp)
    side = _own_side(side, section, stored)
    stride = side * (1 - section.overlap)
    columns, rows = (_count(length, side, stride, section.edge) for length in size)
    return TileGrid(tile_px=section.tile_px, side=side, stride=stride, columns=columns, rows=rows)


def _own_side(side: float, section: GridSection, stored: Sequence[StoredTiling]) -> float:
    """Return the side of the stored tiles that are nearest to what is asked, else what is asked."""
    if section.overlap:
        return side
    sides = [t.tile_px * t.downsample for t in stored if t.tile_px == section.tile_px]
    near = [own for own in sides if abs(own / side - 1) <= section.mpp_tolerance]
    return min(near, key=lambda own: abs(own - side), default=side)


def _count(length: float, side: float, stride: float, edge: Literal["drop", "pad"]) -> int:
    """Return how many tiles fit along an axis (drop), or are needed to cover it (pad)."""
    steps = (length - side) / stride
    slack = _SLACK * max(1.0, length / stride)
    if edge == "pad":
        return max(0, math.ceil(steps - slack)) + 1
    return max(0, math.floor(steps + slack) + 1)
