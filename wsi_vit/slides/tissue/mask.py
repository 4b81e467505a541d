"""Which parts of a slide carry tissue.

Two signs together: colour (saturation) and absorbed light (optical density), both relative to the
slide's own glass, so that a yellowish lamp or a grey scan changes nothing. Grey dust, shadows and
bubbles have density without colour; noise has colour without density. The threshold is applied to
the smoothed product of both, holes are filled, crumbs and pen marks removed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.geometry import Region
from wsi_vit.section import Section
from wsi_vit.slides.areas import boxes_of, share_of
from wsi_vit.slides.overview import Overview
from wsi_vit.slides.tissue.glass import glass_colour
from wsi_vit.slides.tissue.pen import PenSection, find_pen
from wsi_vit.slides.tissue.regions import drop_islands, fill_holes

_STRIP_ROWS = 128
"""Rows worked on at once: floats of a whole large slide would not fit the memory ceiling."""


class TissueSection(Section):
    """What counts as tissue; lengths on the glass, so that they hold at any scan resolution."""

    mpp: float = Field(default=8.0, gt=0)
    """Resolution of the mask, in micrometres per cell: a cell is about a nucleus wide."""
    smooth_um: float = Field(default=12.0, ge=0)
    """Standard deviation of the smoothing: bridges gaps between cells, not between glands."""
    min_saturation: float = Field(default=0.04, ge=0, le=1)
    """Least HSV saturation against the glass: twice the noise of JPEG chroma (about 5 of 255)."""
    min_density: float = Field(default=0.03, ge=0)
    """Least mean optical density against the glass: 7 % of the light absorbed."""
    fill_um2: float = Field(default=20_000.0, ge=0)
    """Holes up to this area are tissue: a gland's lumen of 160 µm across."""
    drop_um2: float = Field(default=20_000.0, ge=0)
    """Islands up to this area are not: debris of 160 µm across."""
    pen: PenSection = PenSection()


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Tissue on a coarse copy of the slide; cells outside the plane are glass."""

    is_tissue: NDArray[np.bool_]
    """Shape (rows, columns)."""
    is_pen: NDArray[np.bool_]
    """Shape (rows, columns); never tissue, unless somebody outlined it as such."""
    is_unreadable: NDArray[np.bool_]
    """Shape (rows, columns); what is there is not known."""
    base_px_per_cell: float

    @property
    def tissue_share(self) -> float:
        """Share of the cells that are tissue."""
        return float(self.is_tissue.mean())

    def coverage(self, regions: Sequence[Region]) -> NDArray[np.float64]:
        """Return the share of each region that is tissue, from 0 to 1, exact to part of a cell.

        Where a part of a region is unreadable, the share is that of the rest of it.
        """
        boxes = boxes_of(regions)
        shares = share_of(self.is_tissue, self.base_px_per_cell, boxes)
        if not self.is_unreadable.any():
            return shares
        known = 1 - share_of(self.is_unreadable, self.base_px_per_cell, boxes)
        return np.where(known > 1e-9, np.minimum(shares / np.maximum(known, 1e-9), 1.0), 0.0)

    def unreadable(self, regions: Sequence[Region]) -> NDArray[np.float64]:
        """Return the share of each region whose overview could not be read."""
        if not self.is_unreadable.any():
            return np.zeros(len(regions))
        return share_of(self.is_unreadable, self.base_px_per_cell, boxes_of(regions))


def tissue_of(overview: Overview, mpp: float, section: TissueSection) -> TissueMask:
    """Find the tissue on a coarse picture whose base pixels measure `mpp` micrometres."""
    return tissue_against(glass_colour(overview.pixels), overview, mpp, section)


def tissue_against(
    glass: NDArray[np.float32], overview: Overview, mpp: float, section: TissueSection
) -> TissueMask:
    """Find the tissue where the colour of empty glass is known, see `glass_colour`."""
    cell_um = overview.base_px_per_cell * mpp
    raw = _stained(overview.pixels, glass, section, cell_um)
    pen = find_pen(overview.pixels, glass, section.pen, cell_um)
    is_tissue = raw & ~pen & ~overview.is_unreadable
    is_tissue = fill_holes(is_tissue, section.fill_um2 / cell_um**2)
    is_tissue &= ~pen & ~overview.is_unreadable
    is_tissue = drop_islands(is_tissue, section.drop_um2 / cell_um**2)
    return TissueMask(is_tissue, pen, overview.is_unreadable, overview.base_px_per_cell)


def _stained(
    pixels: NDArray[np.uint8], glass: NDArray[np.float32], section: TissueSection, cell_um: float
) -> NDArray[np.bool_]:
    """Return where both signs are above their thresholds, strip by strip with a margin."""
    sigma = section.smooth_um / cell_um
    margin = int(np.ceil(4 * sigma)) + 1
    out = np.empty(pixels.shape[:2], np.bool_)
    for top in range(0, len(pixels), _STRIP_ROWS):
        first = max(0, top - margin)
        strip = pixels[first : top + _STRIP_ROWS + margin]
        kept = slice(top - first, top - first + _STRIP_ROWS)
        out[top : top + _STRIP_ROWS] = _above(strip, glass, section, sigma)[kept]
    return out


def _above(
    pixels: NDArray[np.uint8], glass: NDArray[np.float32], section: TissueSection, sigma: float
) -> NDArray[np.bool_]:
    # Planes, each by a table: a third of the time of all three colours at once.
    tables = np.minimum(np.arange(256, dtype=np.float32) / glass[:, None], 1.0)
    red, green, blue = (
        np.maximum(_blurred(table[pixels[..., i]], sigma), 1 / 255)
        for i, table in enumerate(tables)
    )
    brightest = np.maximum(np.maximum(red, green), blue)
    saturation = 1 - np.minimum(np.minimum(red, green), blue) / brightest
    # The logarithm of a product is the sum of logarithms, and takes a third of the time.
    density = -np.log10(red * green * blue) / 3
    return (saturation >= section.min_saturation) & (density >= section.min_density)


def _blurred(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur with a Gaussian that is cut off at four deviations; the edge is repeated outside."""
    reach = int(4 * sigma + 0.5)
    if not reach:
        return plane
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights = (weights / (2 * weights.sum() - weights[0])).astype(np.float32)
    return _along_rows(_along_rows(plane, weights).T, weights).T


def _along_rows(plane: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weigh each cell's neighbours up and down; `weights` are those of the cell and outwards."""
    reach, rows = len(weights) - 1, len(plane)
    framed = np.pad(plane, ((reach, reach), (0, 0)), mode="edge")
    out = framed[reach : reach + rows] * weights[0]
    for away, weight in enumerate(weights[1:], start=1):
        both = framed[reach - away : reach - away + rows] + framed[reach + away :][:rows]
        both *= weight
        out += both
    return out
