"""Light through empty glass, and how much of it a slide absorbs."""

import numpy as np
from numpy.typing import NDArray

_BRIGHT, _GREY = 170, 30
_USUAL = 245.0


def glass_colour(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the RGB of empty glass: the most frequent bright, nearly grey level, per channel.

    Where less than 0.5 % of the picture is bright and grey (a slide all tissue) the light is taken
    to be 245: scanners set glass near there.
    """
    sample = pixels[:: max(1, len(pixels) // 1000), :: max(1, pixels.shape[1] // 1000)]
    flat = sample.reshape(-1, 3)
    red, green, blue = flat.T
    low = np.minimum(np.minimum(red, green), blue)
    high = np.maximum(np.maximum(red, green), blue)
    bright = flat[(low >= _BRIGHT) & (high - low <= _GREY)]
    if len(bright) < 0.005 * len(flat):
        return np.full(3, _USUAL, np.float32)
    counts = np.stack([np.bincount(bright[:, i], minlength=256) for i in range(3)])
    smooth = [np.convolve(levels, np.ones(5), mode="same") for levels in counts]
    return np.argmax(smooth, axis=1).astype(np.float32)


def density_planes(
    pixels: NDArray[np.uint8], glass: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Return the optical density of red, green and blue against the glass, (...) each, at least 0.

    log10(glass / light): Beer-Lambert, as in Ruifrok & Johnston 2001; one grey level is added
    against log of 0.
    """
    table = np.log10((glass[:, None] + 1) / (np.arange(256, dtype=np.float32) + 1))
    table = np.maximum(table, 0).astype(np.float32)
    return [table[i][pixels[..., i]] for i in range(3)]


def densities(pixels: NDArray[np.uint8], glass: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return optical density against the glass, (..., 3), see `density_planes`."""
    return np.stack(density_planes(pixels, glass), axis=-1)
