"""The stains of one slide, or why they could not be told."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.section import Section
from wsi_vit.slides.stain.separation import (
    EOSIN,
    HAEMATOXYLIN,
    Densities,
    amounts,
    degrees_between,
    macenko,
)
from wsi_vit.slides.tissue.glass import densities

Outcome = Literal["fitted", "too_little_stain", "grey", "one_stain", "other_stains"]
"""What came of it; stored, so never rename one."""

WHY: dict[Outcome, str] = {
    "fitted": "two stains were found",
    "too_little_stain": "hardly a pixel is stained",
    "grey": "what absorbs light is grey",
    "one_stain": "all that is stained has one colour",
    "other_stains": "the two stains are no haematoxylin and eosin",
}

_STAINED = 0.15
"""Least optical density of a stained pixel (length of its three): beta of Macenko et al."""
_BLACK = 3
"""Pixels at or below this level in all channels are the edge of a scan, not tissue."""
_LEAST_PIXELS = 2_000
_GREY_DEGREES = 6.0
_APART_DEGREES = 10.0
_ALIKE_DEGREES = 30.0
_GREY = np.full(3, 1 / np.sqrt(3))

Vector = tuple[float, float, float]


class StainFit(Section):
    """Haematoxylin and eosin of one slide; without them where they cannot be told."""

    outcome: Outcome
    glass: Vector
    """Colour of empty glass, 0..255."""
    pixels: int
    """Stained pixels that were looked at."""
    haematoxylin: Vector | None = None
    """Its direction in optical density, of length 1."""
    eosin: Vector | None = None
    amounts: tuple[float, float] | None = None
    """The 99th percentile of the optical density of each."""

    @property
    def stains(self) -> NDArray[np.float64] | None:
        """The two directions, shape (2, 3)."""
        if self.haematoxylin is None or self.eosin is None:
            return None
        return np.array([self.haematoxylin, self.eosin])


def fit_stains(pixels: NDArray[np.uint8], glass: NDArray[np.float32]) -> StainFit:
    """Find haematoxylin and eosin in pixels of tissue; never NaN, and never an error.

    Args:
        pixels: RGB, shape (n, 3), of tissue; glass and black between it are left out.
        glass: RGB of empty glass, shape (3,), 0..255.
    """
    density = _stained(pixels, glass)
    light = _vector(glass)
    if len(density) < _LEAST_PIXELS:
        return StainFit(outcome="too_little_stain", glass=light, pixels=len(density))
    found = macenko(density)
    outcome = _judged(density, found)
    if outcome != "fitted":
        return StainFit(outcome=outcome, glass=light, pixels=len(density))
    most = np.percentile(amounts(density, found), 99, axis=0).round(6).tolist()
    return StainFit(
        outcome=outcome,
        glass=light,
        pixels=len(density),
        haematoxylin=_vector(found[0]),
        eosin=_vector(found[1]),
        amounts=(most[0], most[1]),
    )


def _vector(values: NDArray[np.floating]) -> Vector:
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue


def _stained(pixels: NDArray[np.uint8], glass: NDArray[np.float32]) -> Densities:
    """Return the optical densities of the pixels that are stained."""
    density = densities(pixels, np.maximum(glass, 1.0))
    is_stained = np.linalg.norm(density, axis=1) >= _STAINED
    return density[is_stained & (pixels.max(axis=1) > _BLACK)]


def _judged(density: Densities, stains: NDArray[np.float64]) -> Outcome:
    """Return whether two directions can be haematoxylin and eosin."""
    if degrees_between(density.mean(axis=0).astype(np.float64), _GREY) < _GREY_DEGREES:
        return "grey"
    if degrees_between(*stains) < _APART_DEGREES:
        return "one_stain"
    usual = np.array([HAEMATOXYLIN, EOSIN])
    if any(degrees_between(*pair) > _ALIKE_DEGREES for pair in zip(stains, usual, strict=True)):
        return "other_stains"
    return "fitted"
