"""Fine textures, made once a process and laid over every slide from another corner."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from wsi_vit.slides.synthetic.noise import Field, tiling_noise

SIDE = 1024
"""Pixels a side of a texture; a power of two, so that wrapping round is one bit mask."""


@dataclass(frozen=True, slots=True)
class Textures:
    """Textures of shape (SIDE, SIDE), 0..1, that tile without a seam."""

    fibres: Field
    """Collagen, long along x."""
    web: Field
    """Strands of mucin: thin, branching, in every direction."""
    grain: Field
    """Cytoplasm and matrix, fine and coarse."""

    def turned(self, rng: np.random.Generator) -> "Textures":
        """Return the same textures from another corner, so that no two slides share a patch."""
        rolled = (
            np.roll(item, rng.integers(SIDE, size=2), (0, 1))
            for item in (self.fibres, self.web, self.grain)
        )
        return Textures(*rolled)


@cache
def all_textures() -> Textures:
    """Return the textures; they are always the same."""
    rng = np.random.default_rng(20_251)
    thick, thin = (tiling_noise(rng, SIDE, sigma=sigma) for sigma in ((3.2, 46), (1.1, 15)))
    fine, coarse = (tiling_noise(rng, SIDE, sigma=(sigma, sigma)) for sigma in (0.7, 3.0))
    return Textures(
        fibres=0.6 * thick + 0.4 * thin,
        web=np.maximum(_ridges(rng, 26.0), 0.8 * _ridges(rng, 11.0)),
        grain=0.55 * fine + 0.45 * coarse,
    )


def _ridges(rng: np.random.Generator, sigma: float) -> Field:
    """Return bright lines where noise crosses its median, brighter in some places than others."""
    crossing = 1 - np.abs(2 * tiling_noise(rng, SIDE, sigma=(sigma, sigma * 1.6)) - 1)
    return crossing**12 * tiling_noise(rng, SIDE, sigma=(2 * sigma, 2 * sigma))
