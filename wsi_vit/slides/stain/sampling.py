"""Which pixels of a slide its stains are told from."""

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.overview import read_overview
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.stain.fit import StainFit, fit_stains
from wsi_vit.slides.stain.section import MacenkoStain
from wsi_vit.slides.tissue.glass import glass_colour
from wsi_vit.slides.tissue.mask import TissueSection, tissue_of

_PATCH_PX = 128
_MOST_PIXELS = 250_000
"""More pixels move no percentile by a tenth of a degree."""


def fit_slide(slide: Slide, section: MacenkoStain, tissue: TissueSection) -> StainFit:
    """Find the stains of a slide from places on its tissue, chosen by the seed.

    The same slide, sections and seed give the same fit. Places that cannot be read are left out.

    Raises:
        SlideError: NO_MPP, or the slide cannot be read any more.
    """
    overview = read_overview(slide, tissue.mpp)
    mask = tissue_of(overview, slide.mpp, tissue)
    side = _PATCH_PX * max(section.mpp / slide.mpp, 1.0)
    places = _places(slide.size, side)
    on_tissue = np.flatnonzero(mask.coverage(places) >= 0.5)
    rng = np.random.default_rng(section.seed)
    chosen = np.sort(rng.permutation(on_tissue)[: section.patches])
    patches = [patch for index in chosen if (patch := _read(slide, places[index])) is not None]
    pixels = np.concatenate([np.empty((0, 3), np.uint8), *patches])
    if len(pixels) > _MOST_PIXELS:
        pixels = pixels[rng.choice(len(pixels), _MOST_PIXELS, replace=False)]
    return fit_stains(pixels, glass_colour(overview.pixels))


def _places(size: tuple[int, int], side: float) -> list[Region]:
    """Return the squares of a grid that lie on the plane; at least one."""
    columns, rows = (max(1, int(length // side)) for length in size)
    return [Region(x * side, y * side, side, side) for y in range(rows) for x in range(columns)]


def _read(slide: Slide, place: Region) -> NDArray[np.uint8] | None:
    try:
        return slide.read(place, width_px=_PATCH_PX, height_px=_PATCH_PX).reshape(-1, 3)
    except SlideError as error:
        if error.reason is not Reason.UNREADABLE_TILES:
            raise
        return None
