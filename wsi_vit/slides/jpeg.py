"""Tiles as JPEG bytes, the same for the same pixels."""

import numpy as np
from numpy.typing import NDArray

ENCODER = "simplejpeg 4:2:0"
"""Named in the key of what it shapes."""


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """Return a baseline JPEG, 4:2:0 as scanners write it, of an RGB image (height, width, 3)."""
    import simplejpeg

    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
