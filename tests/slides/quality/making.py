"""A slide of which it is known what is wrong with every part."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from tests.slides.making import tissue_like, write_jpeg_tiff

WIDTH, HEIGHT, TILE = 1280, 896, 128
TISSUE = slice(128, 768), slice(128, 1152)
BLURRED_FROM = 640
"""Tissue from this column on is out of focus, by a Gaussian of 7 µm."""
PEN = slice(256, 640), slice(384, 416)
FOLD = slice(512, 640), slice(128, 256)
GLASS = slice(272, 368), slice(176, 248)


def troubled_pixels() -> np.ndarray:
    """Return the slide at 1 µm/px: tissue on glass, half of it blurred; ink, a fold, a lumen."""
    tissue = tissue_like(WIDTH, HEIGHT)
    tissue[:, BLURRED_FROM:] = ndimage.gaussian_filter(tissue, (7, 7, 0))[:, BLURRED_FROM:]
    pixels = np.full((HEIGHT, WIDTH, 3), 242, np.uint8)
    pixels[TISSUE] = tissue[TISSUE]
    pixels[GLASS] = 242
    layers = (pixels[FOLD] / 242.0).clip(0, 1) ** 4
    pixels[FOLD] = (242 * layers).astype(np.uint8)
    pixels[PEN] = (20, 140, 120)
    return pixels


def troubled_slide(path: Path, **options: Any) -> Path:
    """Write that slide as JPEG tiles of 128 px."""
    return write_jpeg_tiff(path, troubled_pixels(), **{"mpp": 1.0, "tile": TILE} | options)
