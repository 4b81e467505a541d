"""The planes that glands and cells are pressed onto before anything is coloured."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic.nuclei import ANGLES, Stamp

_MARGIN = 512
"""Pixels around the slide, so that whatever crosses its edge needs no clipping."""

RHO_ONE = 180
"""Value of a gland plane at the gland's basement membrane; 0 is its centre, 255 far outside."""


@dataclass(slots=True)
class Planes:
    """What lies where, at full resolution, as bytes of shape (height, width) with a margin."""

    width: int
    height: int
    crypts: NDArray[np.uint8] = field(init=False)
    """Distance from the centre of the nearest normal crypt, as a share of its radius."""
    tumour: NDArray[np.uint8] = field(init=False)
    """The same for tumour glands."""
    nuclei: NDArray[np.uint8] = field(init=False)
    vacuoles: NDArray[np.uint8] = field(init=False)
    """Mucin droplets of goblet cells, and the holes of cribriform glands."""
    debris: NDArray[np.uint8] = field(init=False)
    """Necrosis within lumina."""

    def __post_init__(self) -> None:
        shape = (self.height + 2 * _MARGIN, self.width + 2 * _MARGIN)
        self.crypts, self.tumour = np.full(shape, 255, np.uint8), np.full(shape, 255, np.uint8)
        self.nuclei, self.vacuoles = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self.debris = np.zeros(shape, np.uint8)

    def band(self, plane: NDArray[np.uint8], top: int, bottom: int) -> NDArray[np.uint8]:
        """Return rows `top` to `bottom` of a plane, shape (bottom - top, width), a view."""
        return plane[_MARGIN + top : _MARGIN + bottom, _MARGIN : _MARGIN + self.width]

    def at(self, plane: NDArray[np.uint8], xy: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return a plane's values at positions, shape (n, 2) as x, y in base pixels."""
        columns, rows = np.rint(xy + _MARGIN).astype(int).T
        return plane[np.clip(rows, 0, plane.shape[0] - 1), np.clip(columns, 0, plane.shape[1] - 1)]


def window(plane: NDArray[np.uint8], x: float, y: float, reach: int) -> NDArray[np.uint8]:
    """Return the square of side 2 * reach + 1 around a position, a view to write into."""
    column, row = round(x) + _MARGIN, round(y) + _MARGIN
    return plane[row - reach : row + reach + 1, column - reach : column + reach + 1]


def press(plane: NDArray[np.uint8], xy: NDArray[np.float64], stamps: Sequence[Stamp]) -> None:
    """Press one stamp at each position, shape (n, 2); where two overlap the denser one stays."""
    for (x, y), stamp in zip(xy.tolist(), stamps, strict=True):
        target = window(plane, x, y, stamp.shape[0] // 2)
        if target.shape == stamp.shape:
            np.maximum(target, stamp, out=target)


def press_turned(
    rng: np.random.Generator,
    plane: NDArray[np.uint8],
    xy: NDArray[np.float64],
    angles: NDArray[np.float64],
    stamps: Sequence[Sequence[Stamp]],
) -> None:
    """Press nuclei at positions (n, 2) with their long axes at `angles` (n,) in radians."""
    turns = np.rint(angles / np.pi * ANGLES).astype(int) % ANGLES
    variants = rng.integers(len(stamps[0]), size=len(turns))
    press(plane, xy, [stamps[t][v] for t, v in zip(turns, variants, strict=True)])
