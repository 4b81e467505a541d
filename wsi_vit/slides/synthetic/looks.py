"""How a gland is stained from its lumen to its basement membrane."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic.planes import RHO_ONE


@dataclass(frozen=True, slots=True)
class GlandLook:
    """A gland's stain by the value of its plane, each of shape (256,)."""

    cover: NDArray[np.float32]
    haematoxylin: NDArray[np.float32]
    eosin: NDArray[np.float32]


def _look(*stops: tuple[float, float, float, float]) -> GlandLook:
    """Interpolate between (share of radius, cover, haematoxylin, eosin)."""
    at = np.arange(256) / RHO_ONE
    share, *values = zip(*stops, strict=True)
    cover, haematoxylin, eosin = (np.interp(at, share, v).astype(np.float32) for v in values)
    return GlandLook(cover, haematoxylin, eosin)


CRYPT = _look(
    (0.00, 1.0, 0.03, 0.03),
    (0.36, 1.0, 0.03, 0.04),
    (0.41, 1.0, 0.14, 0.46),
    (0.50, 1.0, 0.17, 0.34),
    (0.80, 1.0, 0.22, 0.40),
    (0.97, 1.0, 0.24, 0.46),
    (1.00, 1.0, 0.12, 0.62),
    (1.03, 0.9, 0.08, 0.40),
    (1.06, 0.0, 0.05, 0.20),
)
TUMOUR_GLAND = _look(
    (0.00, 1.0, 0.02, 0.02),
    (0.37, 1.0, 0.02, 0.03),
    (0.41, 1.0, 0.20, 0.55),
    (0.47, 1.0, 0.25, 0.42),
    (0.98, 1.0, 0.30, 0.44),
    (1.01, 0.9, 0.14, 0.34),
    (1.03, 0.5, 0.06, 0.15),
    (1.05, 0.0, 0.05, 0.12),
)
