"""What varies slowly over a slide: ground stain, fibres and their direction, the tissue's edge."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_vit.slides.synthetic.layout import Layout
from wsi_vit.slides.synthetic.noise import Field, smooth_field
from wsi_vit.slides.synthetic.settings import MASK_FACTOR, SyntheticSection

#            glass, tumour, normal, stroma, mucus
_HAEMATOXYLIN = (0.0, 0.12, 0.15, 0.07, 0.19)
_EOSIN = (0.0, 0.34, 0.22, 0.40, 0.045)
_FIBRES = (0.0, 0.80, 0.45, 1.00, 0.0)
_WISPS = (0.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What varies slowly over the slide, on the coarse grid, each of shape (rows, columns)."""

    tissue: Field
    haematoxylin: Field
    eosin: Field
    fibres: Field
    wisps: Field
    across: Field
    """Offset in base pixels across the fibres: it makes them wavy."""
    pen: Field


def enlarge(field: Field, top: int, bottom: int) -> Field:
    """Return rows top..bottom of a coarse field, interpolated linearly between cell centres."""
    offsets = (np.arange(MASK_FACTOR) + 0.5) / MASK_FACTOR - 0.5
    y = (np.arange(top, bottom) + 0.5) / MASK_FACTOR - 0.5
    low = np.floor(y).astype(int)
    weight = (y - low).astype(np.float32)[:, None]
    last = len(field) - 1
    upper, lower = field[np.clip(low, 0, last)], field[np.clip(low + 1, 0, last)]
    rows = upper + weight * (lower - upper)
    before = np.concatenate([rows[:, :1], rows[:, :-1]], axis=1)
    after = np.concatenate([rows[:, 1:], rows[:, -1:]], axis=1)
    wide = np.empty((*rows.shape, MASK_FACTOR), np.float32)
    for phase, offset in enumerate(offsets.astype(np.float32)):
        other = before if offset < 0 else after
        wide[..., phase] = rows + np.abs(offset) * (other - rows)
    return wide.reshape(len(rows), -1)


def flow_of(across: Field) -> Field:
    """Return the direction of the fibres, radians, on the coarse grid: where `v` is constant."""
    dy, dx = np.gradient(across / MASK_FACTOR)
    return np.arctan2(-dx, 1 + dy).astype(np.float32)


def wave(rng: np.random.Generator, section: SyntheticSection) -> Field:
    """Return how far the fibres wander across their direction, in base pixels."""
    shape = (section.height_px // MASK_FACTOR, section.width_px // MASK_FACTOR)
    unit = section.px_per_um / MASK_FACTOR
    slow = 48 * smooth_field(rng, shape, wavelength=320 * unit)
    quick = 9 * smooth_field(rng, shape, wavelength=75 * unit)
    return ((slow + quick) * section.px_per_um).astype(np.float32)


def backdrop_of(
    rng: np.random.Generator, layout: Layout, across: Field, pen: Field, unit: float
) -> Backdrop:
    """Return the slow variation of a slide; each compartment has a depth of stain of its own."""
    ids, shape = layout.ids, layout.ids.shape
    deep = 1 + 0.10 * smooth_field(rng, shape, wavelength=500 * unit / MASK_FACTOR)
    swollen = 1 + 0.16 * smooth_field(rng, shape, wavelength=160 * unit / MASK_FACTOR)
    own = rng.uniform(0.82, 1.2, (2, 5))
    return Backdrop(
        tissue=ndimage.gaussian_filter((ids > 0).astype(np.float32), 0.7),
        haematoxylin=_spread(_HAEMATOXYLIN * own[0], ids) * deep,
        eosin=_spread(_EOSIN * own[1], ids) * deep * swollen.clip(0.5, 1.4),
        fibres=_spread(np.array(_FIBRES), ids),
        wisps=_spread(np.array(_WISPS), ids),
        across=across,
        pen=pen,
    )


def _spread(values: NDArray[np.float64], ids: NDArray[np.uint8]) -> Field:
    return ndimage.gaussian_filter(values.astype(np.float32)[ids], 1.2)
