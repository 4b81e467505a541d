"""Tiny slides that tests write for themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_PER_CM = 10_000.0


def write_tiff(
    path: Path, pixels: Pixels, *, mpp: float | None = 0.5, levels: int = 1, **options: Any
) -> Path:
    """Write a tiled TIFF; each further level is half the one before (area means)."""
    rate: dict[str, Any] = {}
    if mpp:
        rate = {"resolution": (_PER_CM / mpp, _PER_CM / mpp), "resolutionunit": "CENTIMETER"}
    common = {"tile": (64, 64), "photometric": "rgb", "metadata": None, **rate, **options}
    with tifffile.TiffWriter(path) as writer:
        for index in range(levels):
            writer.write(pixels, subfiletype=1 if index else 0, **common)
            height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
            parts = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, -1)
            pixels = parts.mean(axis=(1, 3)).round().astype(np.uint8)
    return path


def checkerboard(width: int, height: int, square: int) -> Pixels:
    """Return black and white squares, (height, width, 3)."""
    y, x = np.mgrid[:height, :width] // square
    return np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)


def stained(width: int, height: int, *, blob: tuple[int, int, int, int], seed: int = 0) -> Pixels:
    """Return glass with one stained rectangle (left, top, right, bottom), a little noisy."""
    noise = np.random.default_rng(seed).integers(-6, 7, (height, width, 3))
    pixels = np.full((height, width, 3), 242) + noise // 3
    left, top, right, bottom = blob
    part = noise[top:bottom, left:right] * 3
    pixels[top:bottom, left:right] = np.array([180, 110, 170]) + part
    return pixels.clip(0, 255).astype(np.uint8)


def zero_tile(path: Path, index: int) -> Path:
    """Overwrite the stored bytes of one tile of the first page."""
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        offset, count = page.dataoffsets[index], page.databytecounts[index]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(bytes(count))
    return path
