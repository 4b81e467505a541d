"""Tiles read ahead of the model, in order, few at a time."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.ahead import done_ahead
from wsi_vit.errors import Reason, SlideError
from wsi_vit.prediction.canvas import PlannedTile
from wsi_vit.slides.overview import worker_count
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.stain.mapping import StainMap


@dataclass(frozen=True, slots=True)
class ReadTile:
    """A planned tile and what was read of it."""

    planned: PlannedTile
    image: NDArray[np.uint8] | None
    """RGB, (tile, tile, 3); None where it could not be read."""


def read_ahead(
    slide: Slide,
    tiles: Sequence[PlannedTile],
    *,
    tile_px: int,
    ahead: int,
    stain: StainMap | None = None,
) -> Generator[ReadTile]:
    """Yield the tiles in order, while threads read at most `ahead` of the following ones.

    Where there is a stain map, they go through it. Close it before the slide: it then waits for
    its threads.

    Raises:
        SlideError: For any reason but unreadable pixels, which are handed on.
    """
    return done_ahead(
        lambda tile: _read(slide, tile, tile_px, stain),
        tiles,
        threads=worker_count(),
        ahead=ahead,
    )


def _read(slide: Slide, tile: PlannedTile, tile_px: int, stain: StainMap | None) -> ReadTile:
    try:
        image = slide.read(tile.region, width_px=tile_px, height_px=tile_px)
    except SlideError as error:
        if error.reason is not Reason.UNREADABLE_TILES:
            raise
        return ReadTile(tile, None)
    return ReadTile(tile, image if stain is None else stain.apply(image))
