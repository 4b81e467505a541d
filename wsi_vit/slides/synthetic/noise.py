"""Smooth randomness: fields on the coarse grid, and small textures that tile without a seam."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[Any]
"""Values on a grid, float32 of shape (rows, columns)."""


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], *, wavelength: float) -> Field:
    """Return a smooth field of about zero mean and unit deviation, shape (rows, columns).

    `wavelength` is the size of its bumps in cells of the grid.
    """
    step = max(wavelength / 2.0, 1.0)
    small = [int(np.ceil(length / step)) + 4 for length in shape]
    knots = rng.standard_normal(small).astype(np.float32)
    rows, columns = ((np.arange(length) / step + 1.0).astype(np.float32) for length in shape)
    once = _interpolated(knots, rows)
    field = _interpolated(np.ascontiguousarray(once.T), columns).T
    return np.ascontiguousarray(field) / np.float32(0.62)


def _interpolated(knots: Field, at: Field) -> Field:
    """Interpolate along the first axis with cubic B-splines, which never overshoot."""
    base = np.floor(at).astype(np.int64)
    t = (at - base)[:, None]
    weights = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    last = len(knots) - 1
    parts = [w * knots[np.clip(base + k - 1, 0, last)] for k, w in enumerate(weights)]
    return np.asarray(sum(parts), np.float32)


def tiling_noise(
    rng: np.random.Generator, side: int, *, sigma: tuple[float, float]
) -> NDArray[np.float32]:
    """Return noise of shape (side, side) in 0..1, uniform in distribution, that tiles seamlessly.

    `sigma` is the blur along rows' axis and columns' axis, in pixels; unequal values give fibres.
    """
    raw = rng.standard_normal((side, side)).astype(np.float32)
    smooth = ndimage.gaussian_filter(raw, sigma, mode="wrap")
    ranks = np.empty(smooth.size, np.float32)
    ranks[np.argsort(smooth, axis=None, kind="stable")] = np.linspace(0, 1, smooth.size)
    return ranks.reshape(smooth.shape)
