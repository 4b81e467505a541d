"""Tiles as JPEG bytes, the same for the same pixels."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

ENCODER = "simplejpeg"
"""Named in the key of what it shapes."""

Chroma = Literal["4:2:0", "4:2:2", "4:4:4"]
"""How much of the colour is kept beside the brightness: a quarter, a half, all."""


def encode_jpeg(image: NDArray[np.uint8], quality: int, *, chroma: Chroma = "4:2:0") -> bytes:
    """Return a baseline JPEG of an RGB or RGBX image (height, width, 3 or 4)."""
    import simplejpeg

    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(image),
        quality=quality,
        colorspace="RGB" if image.shape[2] == 3 else "RGBX",
        colorsubsampling=chroma.replace(":", ""),
    )
