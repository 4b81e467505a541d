"""Which tiles of a slide are wanted, and how they are got: no tile is read for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.section import Section
from wsi_vit.slides.areas import Boxes, boxes_of
from wsi_vit.slides.grid import GridSection, TileGrid, plan_grid
from wsi_vit.slides.jpeg.encoding import Chroma
from wsi_vit.slides.quality.card import draw_card
from wsi_vit.slides.quality.measures import TileMeasures
from wsi_vit.slides.quality.report import SlideQuality, judge
from wsi_vit.slides.quality.section import Limit, QualitySection
from wsi_vit.slides.quality.survey import survey_slide
from wsi_vit.slides.read_path import ReadPath, Work, choose_path, own_tilings, work_of
from wsi_vit.slides.resolution import ResolutionSection
from wsi_vit.slides.shard import StoreKind
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tissue.mask import TissueMask, TissueSection

_ENLARGEMENT = 1.05
"""Tiles may be this much finer than the slide; more would be invented detail."""

Progress = Callable[[int, int], None]
"""Told how many tiles are done, of how many."""


class TilesSection(Section):
    """How a slide becomes tiles."""

    grid: GridSection
    tissue: TissueSection = TissueSection()
    resolution: ResolutionSection = ResolutionSection()
    quality: QualitySection = QualitySection()
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    """Of tiles that are encoded; what is kept as the scanner wrote it has the scanner's."""
    jpeg_chroma: Chroma = "4:2:0"
    verify: Literal["sample", "every"] = "sample"
    """Which of the tiles that are kept undecoded are decoded once, at an eighth, to prove them. All
    are searched for signs of damage; with `sample` one in 256 is decoded as well, and at the
    first damage all are. `every` costs about ten times as much as keeping them."""
    store: StoreKind = "pixels"
    """`pixels` keeps every tile as a picture. `coordinates` keeps only where tiles lie, and they
    are read from the slides while training: no disk is filled, but the slides must be in reach."""
    max_invalid: float = Field(default=0.05, ge=0, le=1)
    """Largest share of wanted tiles that may be unreadable before the slide is quarantined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """Which tiles of a slide are wanted; no tile has been read for it."""

    grid: TileGrid
    mask: TissueMask
    regions: tuple[Region, ...]
    """Wanted tiles in base pixels, row-major."""
    boxes: Boxes
    """The same as rows of numbers."""
    tissue: NDArray[np.float64]
    """Share of each wanted tile that is tissue."""
    measures: TileMeasures
    """What else is known of each wanted tile."""
    left_out: dict[Limit, int]
    """How many tiles with tissue enough break each limit of the recipe; some may break several."""
    path: ReadPath
    quality: SlideQuality
    card: NDArray[np.uint8]
    """A small picture of the slide with what was found on it, see `quality.card`."""

    def work(self, slide: Slide) -> Work:
        """Return what the tiles will take."""
        level = self.path.level
        return work_of(
            self.path, self.grid, self.regions, slide.levels[level], slide.stored_levels[level]
        )


def plan_tiles(slide: Slide, section: TilesSection, *, given: SlideInput | None = None) -> TilePlan:
    """Lay the grid, find the tissue and choose the tiles.

    A tile whose overview cannot be read is wanted too: only reading it tells what it is.

    Args:
        slide: An open slide.
        section: How it becomes tiles.
        given: What its cohort knows of it: what it is called, and outlines of its tissue that win
            over what is found.

    Raises:
        SlideError: TOO_COARSE, TOO_SMALL, NO_TISSUE, LOW_QUALITY, BAD_TISSUE_MASK or NO_MPP.
    """
    given = given or SlideInput(slide.path)
    grid = _laid(slide, section.grid)
    survey = survey_slide(slide, section.tissue, tissue_mask=given.tissue_mask)
    regions, tissue = _with_tissue(slide, survey.mask, grid, section.grid)
    boxes = boxes_of(regions)
    measures = survey.measure(boxes)
    broken = section.quality.broken(measures)
    left_out: dict[Limit, int] = {limit: int(tiles.sum()) for limit, tiles in broken.items()}
    keeps = ~np.any([np.zeros(len(regions), np.bool_), *broken.values()], axis=0)
    kept = np.flatnonzero(keeps)
    if not len(kept):
        raise _low_quality(slide, len(regions), left_out)
    path = choose_path(grid, slide.levels, slide.stored_levels, slide.planes)
    return TilePlan(
        grid=grid,
        mask=survey.mask,
        regions=tuple(regions[i] for i in kept),
        boxes=boxes[kept],
        tissue=tissue[kept],
        measures=measures[kept],
        left_out=left_out,
        path=path,
        quality=judge(survey, slide, given, path=path),
        card=draw_card(survey),
    )


def _laid(slide: Slide, section: GridSection) -> TileGrid:
    _refuse_enlarging(slide, section)
    tilings = own_tilings(slide.levels, slide.stored_levels)
    grid = plan_grid(slide.size, slide.mpp, section, tilings)
    if len(grid):
        return grid
    raise SlideError(
        Reason.TOO_SMALL,
        f"Not one tile of {grid.side:.1f} base pixels fits",
        got=f"{slide.size[0]} x {slide.size[1]} px in {slide.path.name}",
        remedy="Make tiles smaller, or set edge: pad in the recipe",
    )


def _with_tissue(
    slide: Slide, mask: TissueMask, grid: TileGrid, section: GridSection
) -> tuple[list[Region], NDArray[np.float64]]:
    """Return the tiles that show tissue enough, or whose overview is unreadable; and the share."""
    regions = tuple(grid.regions())
    share = mask.coverage(regions)
    wanted = ((share >= section.min_tissue) & (share > 0)) | (mask.unreadable(regions) > 0)
    if not (wanted.any() and (mask.is_tissue.any() or mask.is_unreadable.any())):
        raise no_tissue(slide, mask, section)
    chosen = np.flatnonzero(wanted)
    return [regions[i] for i in chosen], share[chosen]


def _refuse_enlarging(slide: Slide, grid: GridSection) -> None:
    if grid.mpp * _ENLARGEMENT >= slide.mpp:
        return
    raise SlideError(
        Reason.TOO_COARSE,
        f"Tiles of {grid.mpp:g} µm/px would have to be enlarged",
        got=f"{slide.mpp:.4g} µm/px by {slide.resolution.source} in {slide.path.name}",
        remedy="Ask for a coarser mpp in the recipe, or leave the slide out",
    )


def no_tissue(slide: Slide, mask: TissueMask, grid: GridSection) -> SlideError:
    """Return the error for a slide of which no tile is wanted."""
    return SlideError(
        Reason.NO_TISSUE,
        f"No tile is at least {grid.min_tissue:.0%} tissue",
        got=f"{mask.tissue_share:.2%} of {slide.path.name} is tissue",
        remedy="Look at the slide; lower grid.min_tissue or the tissue thresholds if it has some",
    )


def _low_quality(slide: Slide, tiles: int, left_out: dict[Limit, int]) -> SlideError:
    told = ", ".join(f"max_{limit} {count}" for limit, count in left_out.items())
    return SlideError(
        Reason.LOW_QUALITY,
        f"The recipe's quality limits leave out all {tiles} tiles with tissue",
        got=f"{slide.path.name}: {told}",
        remedy="Look at the slide with `wsi-vit slides quality`; raise the limits, or leave it out",
    )
