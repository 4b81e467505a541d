"""Glands: rings of epithelium around a lumen, and where their nuclei and droplets lie."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic.planes import RHO_ONE, window

Points = NDArray[np.float64]
"""Positions in base pixels, shape (n, 2) as x, y."""


@dataclass(frozen=True, slots=True)
class Gland:
    """An outline in polar form: R(t) = radius * (1 + sum of three waves), stretched and turned."""

    x: float
    y: float
    radius: float
    """Base pixels."""
    stretch: float
    angle: float
    waves: NDArray[np.float64]
    """Amplitudes and phases of cos(2t), cos(3t), cos(5t): shape (3, 2)."""
    lumen: float
    """Radius of the lumen as a share of the gland's."""
    reach: int
    """Half the side of a square that holds it."""

    def point(self, turn: NDArray[np.float64], share: NDArray[np.float64]) -> Points:
        """Return positions at polar angles (n,) and shares of the outline's radius (n,)."""
        away = share * self.radius * self._outline(turn)
        u, v = away * np.cos(turn) * self.stretch, away * np.sin(turn) / self.stretch
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x + u * cos - v * sin, self.y + u * sin + v * cos], axis=1)

    def radial(self, turn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the direction in radians from the centre to the outline at polar angles (n,)."""
        inner, outer = self.point(turn, np.full_like(turn, 0.6)), self.point(turn, turn * 0 + 1)
        dx, dy = (outer - inner).T
        return np.arctan2(dy, dx)

    def _outline(self, turn: NDArray[np.float64]) -> NDArray[np.float64]:
        (a, pa), (b, pb), (c, pc) = self.waves
        waves = a * np.cos(2 * turn + pa) + b * np.cos(3 * turn + pb) + c * np.cos(5 * turn + pc)
        return 1 + waves

    def draw(self, plane: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Lower a gland plane to this gland's share of radius; return where its lumen lies.

        The share is bent so that every lumen ends at the same value, whatever its size: 0..0.4 of
        `RHO_ONE` is lumen, 0.4..1 epithelium.
        """
        target = window(plane, self.x, self.y, self.reach)
        steps = np.arange(-self.reach, self.reach + 1, dtype=np.float32)
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        dx, dy = steps[None, :], steps[:, None]
        u = (dx * cos + dy * sin) / np.float32(self.stretch)
        v = (dy * cos - dx * sin) * np.float32(self.stretch)
        away = np.hypot(u, v)
        unit = np.asarray(u + 1j * v, np.complex64) / np.maximum(away, np.float32(1e-3))
        share = away / (np.float32(self.radius) * self._outline_of(unit))
        bent = np.interp(share, [0, self.lumen, 1, 1.42], [0, 0.4, 1, 1.42])
        rho = np.minimum(bent * RHO_ONE, 255).astype(np.uint8)
        inside = (rho < target) & (share < self.lumen)
        np.minimum(target, rho, out=target)
        return inside

    def _outline_of(self, unit: NDArray[np.complexfloating]) -> NDArray[np.float32]:
        """Return the outline at unit complex z = e**it: Re(z**k * e**ip) is cos(kt + p)."""
        square = unit * unit
        cube = square * unit
        powers = (square, cube, square * cube)
        total = np.ones(unit.shape, np.float32)
        for power, (amplitude, phase) in zip(powers, self.waves, strict=True):
            total += (power * np.complex64(amplitude * np.exp(1j * phase))).real
        return total


def make_gland(
    rng: np.random.Generator,
    xy: tuple[float, float],
    *,
    radius: float,
    wobble: float,
    stretch: tuple[float, float],
    lumen: float,
) -> Gland:
    """Return a gland; `stretch` is the ratio's root and its angle, `wobble` the waves' size."""
    waves = np.stack(
        [wobble * rng.uniform(0.3, 1, 3) * (1, 0.7, 0.4), rng.uniform(0, 2 * np.pi, 3)], axis=1
    )
    most = radius * stretch[0] * (1 + float(waves[:, 0].sum())) * 1.35
    return Gland(*xy, radius, *stretch, waves, lumen, min(int(most) + 2, 500))
