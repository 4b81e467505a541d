"""How sharp a tile is."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from wsi_vit.section import Section


class QualitySection(Section):
    """Which tiles are too blurred to learn from."""

    min_sharpness: float = Field(default=0.0, ge=0)
    """Least sharpness that keeps a tile; 0 keeps all. Depends on stain and resolution."""


def sharpness(image: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of an RGB image's luminance, in squared grey levels.

    Pech-Pacheco et al., ICPR 2000. Tiles out of focus have a tenth of their neighbours' value.
    """
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return float(ndimage.laplace(image @ weights, mode="nearest").var())
