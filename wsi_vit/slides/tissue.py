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
from scipy import ndimage

from wsi_vit.geometry import Region
from wsi_vit.section import Section
from wsi_vit.slides.glass import glass_colour
from wsi_vit.slides.overview import Overview, read_overview
from wsi_vit.slides.pen import PenSection, find_pen
from wsi_vit.slides.regions import drop_islands, fill_holes
from wsi_vit.slides.slide import Slide

_STRIP_ROWS = 512
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
    """Shape (rows, columns); never tissue."""
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
        shares = _shares(self.is_tissue, self.base_px_per_cell, regions)
        if not self.is_unreadable.any():
            return shares
        known = 1 - self.unreadable(regions)
        return np.where(known > 1e-9, np.minimum(shares / np.maximum(known, 1e-9), 1.0), 0.0)

    def unreadable(self, regions: Sequence[Region]) -> NDArray[np.float64]:
        """Return the share of each region whose overview could not be read."""
        return _shares(self.is_unreadable, self.base_px_per_cell, regions)


def find_tissue(slide: Slide, section: TissueSection) -> TissueMask:
    """Find the tissue of a slide at the section's resolution.

    Raises:
        SlideError: NO_MPP.
    """
    return tissue_of(read_overview(slide, section.mpp), slide.mpp, section)


def tissue_of(overview: Overview, mpp: float, section: TissueSection) -> TissueMask:
    """Find the tissue on a coarse picture whose base pixels measure `mpp` micrometres."""
    cell_um = overview.base_px_per_cell * mpp
    glass = glass_colour(overview.pixels)
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
    light = np.minimum(pixels / glass, 1.0).astype(np.float32)
    light = ndimage.gaussian_filter(light, (sigma, sigma, 0), mode="nearest")
    brightest = light.max(axis=2)
    saturation = (brightest - light.min(axis=2)) / np.maximum(brightest, 1 / 255)
    density = -np.log10(np.maximum(light, 1 / 255)).mean(axis=2)
    return (saturation >= section.min_saturation) & (density >= section.min_density)


def _shares(mask: NDArray[np.bool_], cell: float, regions: Sequence[Region]) -> NDArray[np.float64]:
    """Return the share of each region under the mask, by differences of the summed area table."""
    rows, columns = mask.shape
    table = np.zeros((rows + 1, columns + 1), np.int32)
    np.cumsum(mask, axis=0, out=table[1:, 1:], dtype=np.int32)
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    boxes = np.array([(r.x, r.y, r.right, r.bottom) for r in regions], np.float64).reshape(-1, 4)
    left, top, right, bottom = boxes.T / cell
    inside = (
        _summed(table, right, bottom)
        - _summed(table, left, bottom)
        - _summed(table, right, top)
        + _summed(table, left, top)
    )
    return np.clip(inside / ((right - left) * (bottom - top)), 0.0, 1.0)


def _summed(
    table: NDArray[np.int32], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Read the table between its points: exact, as a cell is all tissue or all glass."""
    x = np.clip(x, 0, table.shape[1] - 1)
    y = np.clip(y, 0, table.shape[0] - 1)
    column = np.minimum(x.astype(np.int64), table.shape[1] - 2)
    row = np.minimum(y.astype(np.int64), table.shape[0] - 2)
    right, down = x - column, y - row
    upper = table[row, column] * (1 - right) + table[row, column + 1] * right
    lower = table[row + 1, column] * (1 - right) + table[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down
