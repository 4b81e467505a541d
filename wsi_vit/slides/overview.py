"""The whole slide at a coarse resolution, with what could not be read marked as such."""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.slide import Slide

_BLOCK_CELLS = 256
"""Side of the blocks a slide is read in: whole bins of `blur.Texture`."""
FINE = 2
"""Fine pixels a side of a cell."""
_LEAST_CELLS = 8
"""An unreadable block is halved down to this, so that one bad tile hides little around it."""

Block = tuple[slice, slice]
"""Rows and columns of cells."""
Look = Callable[[Block, NDArray[np.uint8]], None]
"""Shown each block with its fine pixels (rows, columns, 3), from several threads."""


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
    overview = _empty(slide, mpp)
    _each_block(overview, lambda block: _fill(slide, overview, block, overview.pixels[block]))
    return overview


def read_finely(slide: Slide, mpp: float, look: Look) -> Overview:
    """Read as `read_overview` does, but from pixels of half a cell, which `look` is shown as well.

    No fine pixel is kept, so memory grows with the cells only. Where the slide is too coarse for
    fine pixels nothing is shown.

    Raises:
        SlideError: NO_MPP.
    """
    overview = _empty(slide, mpp)
    if overview.base_px_per_cell < FINE:
        return read_overview(slide, mpp)

    def read(block: Block) -> None:
        """Read a block finely, show it, and keep its cells."""
        height, width = (FINE * (side.stop - side.start) for side in block)
        fine = np.empty((height, width, 3), np.uint8)
        _fill(slide, overview, block, fine)
        overview.pixels[block] = _halved(fine)
        look(block, fine)

    _each_block(overview, read)
    return overview


def worker_count() -> int:
    """Return how many threads read a slide: the cores this process may use, at most eight."""
    return max(1, min(8, len(os.sched_getaffinity(0))))


def cells_of(slide: Slide, mpp: float) -> tuple[int, int, float]:
    """Return rows and columns of cells over the plane, and the side of one in base pixels.

    Raises:
        SlideError: NO_MPP.
    """
    cell = max(1.0, mpp / slide.mpp)
    columns, rows = (max(1, math.ceil(side / cell - 1e-9)) for side in slide.size)
    return rows, columns, cell


def _empty(slide: Slide, mpp: float) -> Overview:
    rows, columns, cell = cells_of(slide, mpp)
    return Overview(
        np.empty((rows, columns, 3), np.uint8), np.zeros((rows, columns), np.bool_), cell
    )


def _each_block(overview: Overview, work: Callable[[Block], None]) -> None:
    with ThreadPoolExecutor(worker_count()) as pool:
        for _ in pool.map(work, _blocks(*overview.is_unreadable.shape)):
            pass


def _blocks(rows: int, columns: int) -> Iterator[Block]:
    for top in range(0, rows, _BLOCK_CELLS):
        for left in range(0, columns, _BLOCK_CELLS):
            yield (
                slice(top, min(top + _BLOCK_CELLS, rows)),
                slice(left, min(left + _BLOCK_CELLS, columns)),
            )


def _halved(fine: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of 2 x 2 pixels, rounded to nearest."""
    rows = fine[0::FINE].astype(np.uint16) + fine[1::FINE]
    return ((rows[:, 0::FINE] + rows[:, 1::FINE] + 2) >> 2).astype(np.uint8)


def _fill(slide: Slide, overview: Overview, block: Block, into: NDArray[np.uint8]) -> None:
    """Read one block into its pixels, as fine as these are.

    Where that fails, its quarters are tried, and the smallest that still fail are marked.
    """
    down, across = block
    height, width = down.stop - down.start, across.stop - across.start
    cell = overview.base_px_per_cell
    region = Region(across.start * cell, down.start * cell, width * cell, height * cell)
    try:
        into[:] = slide.read(region, width_px=into.shape[1], height_px=into.shape[0])
    except SlideError as error:
        if error.reason is not Reason.UNREADABLE_TILES:
            raise
        if max(height, width) <= _LEAST_CELLS:
            into[:] = slide.background
            overview.is_unreadable[block] = True
            return
        for part in _quarters(block):
            _fill(slide, overview, part, _within(into, block, part))


def _within(pixels: NDArray[np.uint8], block: Block, part: Block) -> NDArray[np.uint8]:
    """Return the pixels of a part of a block."""
    scale = len(pixels) // (block[0].stop - block[0].start)
    down, across = (
        slice((inner.start - outer.start) * scale, (inner.stop - outer.start) * scale)
        for outer, inner in zip(block, part, strict=True)
    )
    return pixels[down, across]


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
