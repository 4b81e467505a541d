"""Pixels of one slide as if it had been stained like another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.stain.fit import StainFit
from wsi_vit.slides.stain.section import StainTarget
from wsi_vit.slides.stain.separation import basis

_DENSITY = -np.log((np.arange(256) + 1) / 256).astype(np.float32)
"""Natural optical density of a grey level; one level is added so that black has one."""


@dataclass(frozen=True, slots=True, eq=False)
class StainMap:
    """Separating, weighing and mixing stains is linear in density, so one matrix does it all."""

    matrix: NDArray[np.float32]
    """Shape (3, 3); densities are rows, multiplied from the left."""
    offset: NDArray[np.float32]
    """Shape (3,), natural optical density: what the two kinds of glass differ by."""

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an RGB image (..., 3) in the target's stains."""
        density = _DENSITY[image] @ self.matrix
        density += self.offset
        np.negative(density, out=density)
        np.exp(density, out=density)
        density *= 256
        density -= 0.5  # the level that was added, and half of one to round
        return density.clip(0, 255, out=density).astype(np.uint8)


def map_to(fit: StainFit, target: StainTarget) -> StainMap | None:
    """Return what brings a slide to a target's stains; None where it stays as it is.

    Each stain's direction becomes the target's, its 99th percentile the target's; what neither
    explains (blood, pigment, ink) is weighed like the two, so that it keeps its colour among them.
    """
    stains = fit.stains
    if stains is None or fit.amounts is None:
        return None
    wanted = np.array([target.haematoxylin, target.eosin])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    both = np.array(target.amounts) / np.maximum(fit.amounts, 1e-3)
    weights = np.diag([*both, np.sqrt(both.prod())])
    matrix = np.linalg.inv(basis(stains)) @ weights @ basis(wanted)
    here, there = (-np.log((np.array(glass) + 1) / 256) for glass in (fit.glass, target.glass))
    return StainMap(matrix.astype(np.float32), (there - here @ matrix).astype(np.float32))
