"""Haematoxylin and eosin, as each laboratory stains them and each scanner sees them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HAEMATOXYLIN = np.array([0.620, 0.735, 0.274])
_EOSIN = np.array([0.105, 0.945, 0.310])
"""Optical densities of the two stains: A. C. Ruifrok and D. A. Johnston, Analyt. Quant. Cytol.
Histol. 23 (2001), 291-299."""


@dataclass(frozen=True, slots=True)
class Stain:
    """How one slide turns concentrations into colour."""

    vectors: NDArray[np.float32]
    """Optical density a unit of haematoxylin and of eosin, shape (2, 3)."""
    glass: NDArray[np.float32]
    """Colour of the empty glass, shape (3,), 0..255."""


def stain_of(site: int, rng: np.random.Generator) -> Stain:
    """Return the stain of a site with a slide's own deviation from it.

    Slides of one laboratory differ nearly as much as laboratories do (section thickness, age of the
    bath): colour alone must not tell the classes apart from one slide to the next.
    """
    of_site = np.random.default_rng([20_251, site])
    vectors = np.stack([_HAEMATOXYLIN, _EOSIN])
    vectors += of_site.normal(0, 0.045, (2, 3)) + rng.normal(0, 0.03, (2, 3))
    vectors = np.clip(vectors, 0.03, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = of_site.uniform(0.84, 1.16, (2, 1)) * rng.uniform(0.72, 1.3, (2, 1))
    glass = np.array([243, 242, 244]) + of_site.uniform(-5, 4, 3) + rng.uniform(-1.5, 1.5, 3)
    return Stain((vectors * strength).astype(np.float32), glass.astype(np.float32))
