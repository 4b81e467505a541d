"""Ink on the cover glass, told from stain by its colour.

Haematoxylin and eosin both absorb green most. Green and blue ink absorb red clearly more than
green; red ink lets red through and absorbs blue nearly as much as green; black ink absorbs all
three alike, which no stain does. Cells of a plain ink colour that form a mark are its core; the
mark then grows into paler neighbours of like colour, and by a rim.

The limits below come from the densities of the inks in two photographs of marked slides and of
1,000 stained tiles without ink, not from the slides that the mask is judged on.
A pool of blood can have the colour of red ink; above `drop_um2` it is taken for ink.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.section import Section
from wsi_vit.slides.tissue.glass import density_planes
from wsi_vit.slides.tissue.regions import close_gaps, drop_islands, grow

_STRIP_ROWS = 128
_COLD = 1.25
"""Red over green density: haematoxylin has 0.93 (Ruifrok & Johnston 2001), green ink 2 to 4."""
_WARM_RED, _WARM_BLUE = 0.22, 0.62
"""Red and blue over green density: red ink has 0.11 and 0.7, stained tissue 0.5 and 0.55."""
_PALE_RED, _PALE_BLUE = 0.35, 0.60
_NEUTRAL = 0.8
"""Least over largest density of black ink; stains stay below 0.7."""


class PenSection(Section):
    """What counts as a pen mark; lengths on the glass."""

    min_density: float = Field(default=0.2, gt=0)
    """Least optical density (of the most absorbed colour) of a green or blue mark's core."""
    red_density: float = Field(default=0.25, gt=0)
    """The same of a red mark's: pink collagen has the hue of red ink, but is paler."""
    pale_density: float = Field(default=0.08, gt=0)
    """Least optical density of the paler ink around the core."""
    black_density: float = Field(default=0.7, gt=0)
    """Least mean optical density of black ink."""
    drop_um2: float = Field(default=5_000.0, ge=0)
    """Cores up to this area are stain or dust: a pen's dot is wider than 80 µm."""
    reach_um: float = Field(default=240.0, ge=0)
    """How far from its core a mark may run on in paler ink."""
    rim_um: float = Field(default=24.0, ge=0)
    """How far a mark's smeared rim is taken with it."""


def find_pen(
    pixels: NDArray[np.uint8], glass: NDArray[np.float32], section: PenSection, cell_um: float
) -> NDArray[np.bool_]:
    """Return where ink lies, (rows, columns), on RGB pixels of `cell_um` micrometres."""
    core = np.empty(pixels.shape[:2], np.bool_)
    pale = np.empty(pixels.shape[:2], np.bool_)
    for top in range(0, len(pixels), _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        light = _Absorbed(*density_planes(pixels[rows], glass))
        core[rows] = _is_core(light, section)
        pale[rows] = _is_pale(light, section)
    marks = drop_islands(close_gaps(core, round(16 / cell_um)), section.drop_um2 / cell_um**2)
    marks = grow(marks, round(section.reach_um / cell_um), within=pale | marks)
    return grow(marks, round(section.rim_um / cell_um))


class _Absorbed(NamedTuple):
    """Optical densities, (rows, columns) each: planes, which are reduced ten times faster."""

    red: NDArray[np.float32]
    green: NDArray[np.float32]
    blue: NDArray[np.float32]

    def most(self) -> NDArray[np.float32]:
        return np.maximum(np.maximum(self.red, self.green), self.blue)

    def least(self) -> NDArray[np.float32]:
        return np.minimum(np.minimum(self.red, self.green), self.blue)


def _is_core(light: _Absorbed, section: PenSection) -> NDArray[np.bool_]:
    red, green, blue = light
    most = light.most()
    cold = (red > _COLD * green) & (most > section.min_density)
    warm = (blue > _WARM_BLUE * green) & (red < _WARM_RED * green) & (most > section.red_density)
    dark = red + green + blue > 3 * section.black_density
    return cold | warm | (dark & (light.least() > _NEUTRAL * most))


def _is_pale(light: _Absorbed, section: PenSection) -> NDArray[np.bool_]:
    red, green, blue = light
    coloured = (red > _COLD * green) | ((blue > _PALE_BLUE * green) & (red < _PALE_RED * green))
    return coloured & (light.most() > section.pale_density)
