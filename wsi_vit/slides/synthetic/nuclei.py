"""Stamps of nuclei: what is pressed onto the slide wherever a cell lies."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Stamp = NDArray[np.uint8]
"""Density of one cell part on a square patch, shape (side, side); 0 is nothing."""

ANGLES = 24
"""Orientations a kind is drawn in, over half a turn."""

_VARIANTS = 5


@dataclass(frozen=True, slots=True)
class NucleusKind:
    """How the nuclei of one kind of cell look."""

    long_um: float
    """Half the long axis."""
    short_um: float
    density: float
    """Mean haematoxylin, 0..1."""
    chromatin: float
    """How coarse the chromatin is, 0..1."""
    spread: float = 0.15
    """Relative deviation of size and density from nucleus to nucleus."""
    bend: float = 0.0
    """How far a long nucleus is bent, as a share of its length."""


LYMPHOCYTE = NucleusKind(3.0, 2.8, density=0.86, chromatin=0.25, spread=0.10)
PLASMA_CELL = NucleusKind(3.4, 3.0, density=0.70, chromatin=0.5)
COLONOCYTE = NucleusKind(4.3, 2.4, density=0.70, chromatin=0.22, spread=0.12)
CARCINOMA = NucleusKind(6.6, 3.5, density=0.74, chromatin=0.55, spread=0.26)
VESICULAR = NucleusKind(5.6, 4.4, density=0.52, chromatin=0.85, spread=0.25)
FIBROBLAST = NucleusKind(7.5, 1.45, density=0.64, chromatin=0.2, spread=0.25, bend=0.12)
DEBRIS = NucleusKind(1.3, 1.1, density=0.85, chromatin=0.1, spread=0.5)


@cache
def nucleus_stamps(kind: NucleusKind, px_per_um: float) -> list[list[Stamp]]:
    """Return stamps by orientation (`ANGLES`, clockwise from x on the screen) and variant."""
    rng = np.random.default_rng(20_251)
    return [
        [_nucleus(rng, kind, np.pi * k / ANGLES, px_per_um) for _ in range(_VARIANTS)]
        for k in range(ANGLES)
    ]


def _nucleus(rng: np.random.Generator, kind: NucleusKind, angle: float, px_per_um: float) -> Stamp:
    size, dark = 1 + kind.spread * np.clip(rng.standard_normal(2), -1.8, 1.8)
    long, short = kind.long_um * size * px_per_um, kind.short_um * size * px_per_um
    dx, dy = _patch(long)
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = dy * np.cos(angle) - dx * np.sin(angle)
    v = v + kind.bend * rng.normal() * u * u / max(long, 1)
    turn = np.arctan2(v / short, u / long)
    radius = np.hypot(u / long, v / short) * (1 + 0.07 * np.cos(2 * turn + rng.uniform(0, 6)))
    radius *= 1 + 0.05 * np.cos(3 * turn + rng.uniform(0, 6))
    alpha = np.clip((1 - radius) * short / 1.3 + 0.5, 0, 1)
    mottle = ndimage.gaussian_filter(rng.standard_normal(alpha.shape), 0.55 * px_per_um)
    mottle = mottle / max(mottle.std(), 1e-6)
    rim = np.exp(-(((radius - 0.88) / 0.16) ** 2))
    density = kind.density * (1 + 0.6 * (dark - 1)) + kind.chromatin * (
        0.10 * mottle + 0.22 * rim - 0.10
    )
    density += _nucleolus(rng, kind, np.hypot(u - 0.2 * long, v) / px_per_um)
    return np.rint(255 * alpha * np.clip(density, 0.36, 1.0)).astype(np.uint8)


def _patch(long: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    reach = int(np.ceil(long * 1.15)) + 2
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    return steps[None, :], steps[:, None]


def _nucleolus(
    rng: np.random.Generator, kind: NucleusKind, distance_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    if kind.chromatin < 0.5 or rng.random() < 0.4:
        return np.zeros_like(distance_um)
    return 0.4 * np.exp(-((distance_um / 0.9) ** 2))


@cache
def vacuole_stamps(radius_um: float, px_per_um: float) -> list[Stamp]:
    """Return a dozen pale droplets, such as the mucin of a goblet cell."""
    rng = np.random.default_rng(20_251)
    stamps = []
    for _ in range(12):
        radius = radius_um * px_per_um * rng.uniform(0.8, 1.2)
        dx, dy = _patch(1.3 * radius)
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.3)
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / stretch
        v = (dy * np.cos(angle) - dx * np.sin(angle)) * stretch
        away = np.hypot(u, v) / radius
        alpha = np.clip((1 - away) * radius / 2.2 + 0.5, 0, 1)
        stamps.append(np.rint(255 * alpha).astype(np.uint8))
    return stamps
