"""The whole slide at a coarse resolution, with what could not be read marked as such."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.slide import Slide

_BLOCK_CELLS = 256
_LEAST_CELLS = 8
"""An unreadable block is halved down to this, so that one bad tile hides little around it."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A coarse picture of the full plane."""

    pixels: NDArray[np.uint8]
    """RGB, shape (rows, columns, 3); background where unreadable."""
    is_unreadable: NDArray[np.bool_]
    """Shape (rows, columns)."""
    base_px_per_cell: float


def read_overview(slide: Slide, mpp: float) -> Overview:
    """Read the full plane at a resolution; bad parts are marked, not raised.

    A slide that is coarser than asked is read at its own resolution. The last row and column of
    cells may reach beyond the plane.

    Raises:
        SlideError: NO_MPP.
    """
    cell = max(1.0, mpp / slide.mpp)
    columns, rows = (max(1, math.ceil(side / cell - 1e-9)) for side in slide.size)
    overview = Overview(
        np.empty((rows, columns, 3), np.uint8), np.zeros((rows, columns), np.bool_), cell
    )
    with ThreadPoolExecutor(worker_count()) as pool:
        for _ in pool.map(lambda block: _fill(slide, overview, block), _blocks(rows, columns)):
            pass
    return overview


def worker_count() -> int:
    """Return how many threads read a slide: the cores this process may use, at most eight."""
    return max(1, min(8, len(os.sched_getaffinity(0))))


Block = tuple[slice, slice]


def _blocks(rows: int, columns: int) -> Iterator[Block]:
    for top in range(0, rows, _BLOCK_CELLS):
        for left in range(0, columns, _BLOCK_CELLS):
            yield (
                slice(top, min(top + _BLOCK_CELLS, rows)),
                slice(left, min(left + _BLOCK_CELLS, columns)),
            )


def _fill(slide: Slide, overview: Overview, block: Block) -> None:
    """Read one block; where it fails, try its quarters and mark the smallest that still fail."""
    down, across = block
    height, width = down.stop - down.start, across.stop - across.start
    cell = overview.base_px_per_cell
    region = Region(across.start * cell, down.start * cell, width * cell, height * cell)
    try:
        overview.pixels[block] = slide.read(region, width_px=width, height_px=height)
    except SlideError as error:
        if error.reason is not Reason.UNREADABLE_TILES:
            raise
        if max(height, width) <= _LEAST_CELLS:
            overview.pixels[block] = slide.background
            overview.is_unreadable[block] = True
            return
        for part in _quarters(block):
            _fill(slide, overview, part)


def _quarters(block: Block) -> Iterator[Block]:
    halves = [
        [part for part in _halves(side.start, side.stop) if part.stop > part.start]
        for side in block
    ]
    for down in halves[0]:
        for across in halves[1]:
            yield down, across


def _halves(start: int, stop: int) -> tuple[slice, slice]:
    middle = (start + stop + 1) // 2
    return slice(start, middle), slice(middle, stop)
