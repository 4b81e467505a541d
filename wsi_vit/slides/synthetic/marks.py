"""What is on the glass but is no tissue: pen, dust and hairs."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_vit.slides.synthetic.noise import Field

PENS = np.array([[2.2, 0.7, 0.35], [0.5, 1.9, 1.5], [1.9, 0.6, 1.7], [1.7, 1.7, 1.6]], np.float32)
"""Optical densities of blue, red, green and black markers, shape (4, 3)."""


def pen_stroke(rng: np.random.Generator, tissue: NDArray[np.bool_], *, width: float) -> Field:
    """Return the cover (0..1) of a pen line beside the tissue, on the coarse grid.

    `width` is in cells. The line runs where a pathologist draws it: along the tissue's edge.
    """
    away = _distance(~tissue) - _distance(tissue)
    rows, columns = tissue.shape
    y, x = np.ogrid[:rows, :columns]
    angle, span = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.9)
    turn = np.angle(np.exp(1j * (np.arctan2(y - rows / 2, x - columns / 2) - angle)))
    end = np.clip((span - np.abs(turn)) * 12, 0, 1)
    line = np.clip((width - np.abs(away - 0.4 * width)) / 3 + 0.5, 0, 1)
    streaks = 0.9 + 0.1 * np.sin(away * 1.3)
    return (line * end * streaks).astype(np.float32)


def _distance(mask: NDArray[np.bool_]) -> Field:
    """Return how far each cell of a mask is from the outside, in cells."""
    return np.asarray(ndimage.distance_transform_edt(mask), np.float32)


def sprinkle_dust(rng: np.random.Generator, picture: NDArray[np.uint8], *, unit: float) -> None:
    """Darken a picture (height, width, 3) in place with specks and a few hairs."""
    height, width = picture.shape[:2]
    for _ in range(int(14 * width * height / (2000 * unit) ** 2) + 4):
        radius = rng.uniform(1.0, 4.5) * unit
        _speck(picture, rng.uniform(0, (width, height)), radius, float(rng.uniform(0.35, 0.8)))
    for _ in range(2):
        _hair(rng, picture, unit)


def _speck(
    picture: NDArray[np.uint8], xy: NDArray[np.float64], radius: float, light: float
) -> None:
    reach = int(radius * 2) + 2
    column, row = (int(value) for value in xy)
    top, left = max(row - reach, 0), max(column - reach, 0)
    patch = picture[top : row + reach + 1, left : column + reach + 1]
    y, x = np.ogrid[: patch.shape[0], : patch.shape[1]]
    away = np.hypot(x + left - xy[0], (y + top - xy[1]) * 1.2)
    cover = np.clip((radius - away) / 1.5 + 0.5, 0, 1)[..., None]
    patch[:] = patch * (1 - cover * (1 - light))


def _hair(rng: np.random.Generator, picture: NDArray[np.uint8], unit: float) -> None:
    height, width = picture.shape[:2]
    at, heading = rng.uniform(0, (width, height)), rng.uniform(0, 2 * np.pi)
    bend = rng.normal(0, 0.004) / unit
    for _ in range(int(180 * unit)):
        _speck(picture, at, 0.9 * unit, 0.82)
        at = at + 1.6 * np.array([np.cos(heading), np.sin(heading)])
        heading += bend + rng.normal(0, 0.01)
