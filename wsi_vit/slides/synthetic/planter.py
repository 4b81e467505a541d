"""What every compartment is planted with: where things lie, and with which stamps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic import nuclei as kinds
from wsi_vit.slides.synthetic.glands import Points
from wsi_vit.slides.synthetic.layout import Layout
from wsi_vit.slides.synthetic.planes import Planes
from wsi_vit.slides.synthetic.settings import MASK_FACTOR


@dataclass(frozen=True, slots=True)
class Planter:
    """Everything planting needs at hand."""

    rng: np.random.Generator
    layout: Layout
    planes: Planes
    px_per_um: float
    flow: NDArray[np.float32]
    """Direction of the fibres in radians on the coarse grid, shape (rows, columns)."""

    def stamps(self, kind: kinds.NucleusKind) -> list[list[kinds.Stamp]]:
        """Return nuclei of a kind at this slide's resolution."""
        return kinds.nucleus_stamps(kind, self.px_per_um)

    def is_in(self, xy: Points, index: int) -> NDArray[np.bool_]:
        """Return which positions lie in a compartment, shape (n,)."""
        return self._cells(self.layout.ids, xy) == index

    def directions(self, xy: Points) -> NDArray[np.float64]:
        """Return the direction of the fibres at positions, radians, shape (n,)."""
        return self._cells(self.flow, xy).astype(np.float64)

    def _cells(self, grid: NDArray, xy: Points) -> NDArray:
        columns, rows = np.floor(xy / MASK_FACTOR).astype(int).T
        top, left = grid.shape[0] - 1, grid.shape[1] - 1
        return grid[np.clip(rows, 0, top), np.clip(columns, 0, left)]

    def scatter(self, per_mm2: float, index: int) -> Points:
        """Return random positions in a compartment, at a density a square millimetre."""
        width, height = self.planes.width, self.planes.height
        area = width * height / (1000 * self.px_per_um) ** 2
        count = int(per_mm2 * area)
        xy = self.rng.uniform((0, 0), (width, height), (count, 2))
        return xy[self.is_in(xy, index)]

    def fits(self, xy: Points, index: int, radii: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which circles at positions (n, 2), of radii (n,), lie in a compartment."""
        kept = np.asarray(((xy > 0) & (xy < (self.planes.width, self.planes.height))).all(axis=1))
        for angle in np.arange(12) * np.pi / 6:
            kept &= self.is_in(xy + radii[:, None] * (np.cos(angle), np.sin(angle)), index)
        return kept


def spaced_turns(
    rng: np.random.Generator, radius: float, *, every: float, share: float
) -> NDArray[np.float64]:
    """Return polar angles about `every` pixels apart at a share of a radius."""
    count = max(int(2 * np.pi * radius * share / every), 3)
    spread = rng.normal(0, 0.16, count)
    return (np.arange(count) + rng.random() + spread) * 2 * np.pi / count
