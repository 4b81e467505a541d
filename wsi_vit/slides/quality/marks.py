"""What a coarse picture of a slide shows beside tissue and ink: folds, empty glass, the stain.

Beer and Lambert's law makes two layers of tissue absorb twice as much light as one. So what is
about twice as dense as the slide's own tissue is a fold, or something that learns as badly: a dense
clump, pigment, the rim of a bubble, dirt. (Kothari et al., "Eliminating tissue-fold artifacts in
histopathological whole-slide images", JBHI 2013, likewise set their limit by the slide itself.)
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.section import Section
from wsi_vit.slides.stain.separation import EOSIN, HAEMATOXYLIN
from wsi_vit.slides.tissue.glass import density_planes
from wsi_vit.slides.tissue.mask import TissueMask
from wsi_vit.slides.tissue.regions import close_gaps, drop_islands

_FOLD = 2.0
"""Density over that which three quarters of the tissue stay below: dense tissue is no fold."""
_LEAST_DARK = 0.35
"""Mean optical density that a fold has at least: less than half of the light passes. On a slide
that is all pale, twice as dense is still pale."""
_FOLD_UM2 = 5_000.0
"""Smaller dark parts are clumped nuclei, dust or a vessel's wall: less than 70 µm across."""
_CLEAR = 0.03
"""Mean optical density up to which all light passes: 7 % absorbed, where tissue begins."""
_MOST_CELLS = 250_000
"""Cells that the stain is told from."""

Cells = NDArray[np.bool_]
"""Shape (rows, columns)."""
PenColour = Literal["green", "blue", "red", "black"]


class StainFacts(Section):
    """Light that tissue absorbs, as optical density on cells of the overview."""

    mean_od: tuple[float, float, float]
    """Red, green and blue."""
    sd_od: tuple[float, float, float]
    haematoxylin: float
    """Mean amount of the stain, by least squares from the vectors of Ruifrok & Johnston (2001)."""
    eosin: float


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What else is known of the cells of a tissue mask."""

    is_dark: Cells
    is_glass: Cells
    """Where all light passes, be it within tissue (lumen, fat) or beside it; never ink."""


def find_marks(
    pixels: NDArray[np.uint8], glass: NDArray[np.float32], mask: TissueMask, cell_um: float
) -> Marks:
    """Find folds and empty glass on a coarse RGB picture (rows, columns, 3).

    Args:
        pixels: One pixel a cell of the mask.
        glass: Colour of empty glass, see `glass_colour`.
        mask: Tissue and ink.
        cell_um: Side of a cell in micrometres.
    """
    density = _mean_density(pixels, glass)
    is_free = ~(mask.is_pen | mask.is_unreadable)
    least = max(_LEAST_DARK, _FOLD * _upper_quartile(density[mask.is_tissue]))
    dark = close_gaps((density > 1000 * least) & is_free, round(8 / cell_um))
    return Marks(
        is_dark=drop_islands(dark, _FOLD_UM2 / cell_um**2) & is_free,
        is_glass=(density <= 1000 * _CLEAR) & is_free,
    )


def stain_of(
    pixels: NDArray[np.uint8], glass: NDArray[np.float32], is_tissue: Cells
) -> StainFacts | None:
    """Return what the tissue absorbs; None where there is no tissue."""
    step = max(1, int(np.sqrt(is_tissue.sum() / _MOST_CELLS)))
    chosen = pixels[::step, ::step][is_tissue[::step, ::step]]
    if not len(chosen):
        return None
    planes = density_planes(chosen, glass)
    mean = np.array([plane.mean(dtype=np.float64) for plane in planes])
    spread = np.array([plane.std(dtype=np.float64) for plane in planes])
    amounts = (
        np.linalg.lstsq(np.stack([HAEMATOXYLIN, EOSIN], axis=1), mean, rcond=None)[0]
        .round(4)
        .tolist()
    )
    return StainFacts(
        mean_od=tuple(mean.round(4).tolist()),
        sd_od=tuple(spread.round(4).tolist()),
        haematoxylin=amounts[0],
        eosin=amounts[1],
    )


def pen_colour(
    pixels: NDArray[np.uint8], glass: NDArray[np.float32], is_pen: Cells
) -> PenColour | None:
    """Return the colour that most of the ink has; None where there is none.

    Blue ink lets blue pass and green ink green; both absorb red more than green. Red ink lets red
    pass. Black ink absorbs all.
    """
    if not is_pen.any():
        return None
    red, green, blue = density_planes(pixels[is_pen], glass)
    strong = np.maximum(red, np.maximum(green, blue))
    is_cold, is_warm = red > 1.1 * green, red < 0.6 * green
    shares = {
        "green": (is_cold & (blue > green)) * strong,
        "blue": (is_cold & (blue <= green)) * strong,
        "red": is_warm * strong,
        "black": (~is_cold & ~is_warm) * strong,
    }
    return max(shares, key=lambda name: float(shares[name].sum()))  # type: ignore[return-value]


def _mean_density(pixels: NDArray[np.uint8], glass: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the mean optical density of the three colours, in thousandths, (rows, columns)."""
    greys = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    tables = [plane * 1000 / 3 for plane in density_planes(greys, glass)]
    red, green, blue = (table.round().astype(np.uint16) for table in tables)
    return red[pixels[..., 0]] + green[pixels[..., 1]] + blue[pixels[..., 2]]


def _upper_quartile(density: NDArray[np.uint16]) -> float:
    """Return the third quartile of thousandths as an optical density; 0 of nothing."""
    return float(np.percentile(density, 75)) / 1000 if len(density) else 0.0
