"""How sharp a tile is."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from wsi_vit.section import Section


class QualitySection(Section):
    """Which tiles are too blurred to learn from."""

    min_sharpness: float = Field(default=0.0, ge=0)
    """Least sharpness that keeps a tile; 0 keeps all. Depends on stain and resolution. Above 0 even
    tiles that are kept as the scanner wrote them are decoded for it, which takes ten times longer
    than keeping them; at 0 their sharpness is not known, and recorded as null."""


def sharpness(image: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of an RGB(X) image's luminance, in squared grey levels.

    Pech-Pacheco et al., ICPR 2000. Tiles out of focus have a tenth of their neighbours' value.
    """
    height, width, channels = image.shape
    mode = "RGB" if channels == 3 else "RGBX"
    pixels = np.ascontiguousarray(image)
    grey = Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1).convert("L")
    light = np.pad(np.asarray(grey).astype(np.int16), 1, mode="edge")
    edges = light[1:-1, :-2] + light[1:-1, 2:]
    edges += light[:-2, 1:-1]
    edges += light[2:, 1:-1]
    edges -= light[1:-1, 1:-1] << 2
    return float(edges.var(dtype=np.float32))
