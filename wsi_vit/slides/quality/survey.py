"""All that the overview of a slide tells, from one reading of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.areas import Boxes, share_of
from wsi_vit.slides.overview import FINE, Overview, cells_of, read_finely
from wsi_vit.slides.quality.blur import BIN_CELLS, BLOCK_BINS, Map, Texture, in_blocks
from wsi_vit.slides.quality.marks import Marks, find_marks
from wsi_vit.slides.quality.measures import TileMeasures
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.tissue.glass import glass_colour
from wsi_vit.slides.tissue.mask import TissueMask, TissueSection, tissue_against
from wsi_vit.slides.tissue.outlines import read_outlines


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """A slide's overview, and what is found on it."""

    overview: Overview
    glass: NDArray[np.float32]
    """Colour of empty glass, RGB."""
    mask: TissueMask
    marks: Marks
    texture: Texture
    mpp: float
    """Micrometres per base pixel."""

    @property
    def cell_um(self) -> float:
        """Side of a cell in micrometres."""
        return self.overview.base_px_per_cell * self.mpp

    @property
    def blur_mpp(self) -> float:
        """Micrometres per pixel at which blur is measured."""
        return self.cell_um / FINE

    def measure(self, boxes: Boxes) -> TileMeasures:
        """Measure tiles, given as boxes in base pixels."""
        cell = self.overview.base_px_per_cell
        masks = (self.mask.is_pen, self.marks.is_dark, self.marks.is_glass)
        pen, dark, glass = (share_of(mask, cell, boxes).astype(np.float32) for mask in masks)
        blur = self.texture.blur(self.tissue_bins(), cell, boxes).astype(np.float32)
        return TileMeasures(blur=blur, pen=pen, dark=dark, glass=glass)

    def blur_blocks(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the blur of each block (see `blur_map`), and whether it is mostly tissue."""
        tissue = self.tissue_bins()
        is_tissue = in_blocks(tissue) > 0.5 * BLOCK_BINS**2
        return self.texture.blur_map(tissue), is_tissue

    def tissue_bins(self) -> Map:
        """Return the share of each of the texture's bins that is tissue, (rows, columns)."""
        rows, columns = (-(-side // BIN_CELLS) for side in self.mask.is_tissue.shape)
        framed = np.zeros((rows * BIN_CELLS, columns * BIN_CELLS), np.float32)
        height, width = self.mask.is_tissue.shape
        framed[:height, :width] = self.mask.is_tissue
        return framed.reshape(rows, BIN_CELLS, columns, BIN_CELLS).mean(axis=(1, 3))


def survey_slide(
    slide: Slide, section: TissueSection, *, tissue_mask: Path | None = None
) -> Survey:
    """Read the overview of a slide and find tissue, ink, folds, empty glass and blur on it.

    Args:
        slide: An open slide.
        section: What counts as tissue, and at which resolution it is looked for.
        tissue_mask: Outlines that win over the tissue that is found, see `tissue_outlines`.

    Raises:
        SlideError: NO_MPP, or BAD_TISSUE_MASK.
    """
    rows, columns, cell = cells_of(slide, section.mpp)
    texture = Texture.over(rows, columns)
    outlines = None if tissue_mask is None else read_outlines(tissue_mask, slide.size)
    overview = read_finely(slide, section.mpp, texture.add)
    glass = glass_colour(overview.pixels)
    mask = tissue_against(glass, overview, slide.mpp, section)
    if outlines is not None:
        mask = outlines.over(mask)
    marks = find_marks(overview.pixels, glass, mask, cell * slide.mpp)
    return Survey(overview, glass, mask, marks, texture, float(slide.mpp))
