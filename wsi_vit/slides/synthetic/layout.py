"""Where the compartments of a slide lie, on a grid of `MASK_FACTOR` base pixels a cell."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_vit.slides.synthetic.noise import Field, smooth_field
from wsi_vit.slides.synthetic.settings import (
    MASK_FACTOR,
    MUCUS,
    NORMAL,
    STROMA,
    TUMOUR,
    SyntheticSection,
)

_LEAST_SHARE = {TUMOUR: 0.18, NORMAL: 0.14, STROMA: 0.16, MUCUS: 0.06}
"""Share of the tissue each compartment must hold, so that whole tiles fit into it."""

_TRIES = 12
"""Layouts drawn anew before the best of them is taken."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The compartments of one slide."""

    ids: NDArray[np.uint8]
    """Shape (rows, columns) on the coarse grid: 0 glass, 1..4 as in `CLASSES`."""
    inward: tuple[float, float]
    """Unit vector (x, y) from the mucosal surface into the depth."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Warped coordinates: depth below the surface and distance along it, in half heights."""

    depth: Field
    along: Field
    tissue: NDArray[np.bool_]
    deepest: float
    widest: float


def lay_out(rng: np.random.Generator, section: SyntheticSection) -> Layout:
    """Return compartments in which every class is large enough to hold whole tiles."""
    best = _attempt(rng, section)
    for _ in range(_TRIES):
        if _shortfall(best) <= 0:
            break
        best = min(best, _attempt(rng, section), key=_shortfall)
    return best


def _shortfall(layout: Layout) -> float:
    counts = np.bincount(layout.ids.ravel(), minlength=5)
    tissue = max(int(counts[1:].sum()), 1)
    return max(least - counts[index] / tissue for index, least in _LEAST_SHARE.items())


def _attempt(rng: np.random.Generator, section: SyntheticSection) -> Layout:
    shape = (section.height_px // MASK_FACTOR, section.width_px // MASK_FACTOR)
    angle = rng.integers(4) * np.pi / 2 + rng.uniform(-0.22, 0.22)
    inward = (float(np.cos(angle)), float(np.sin(angle)))
    frame = _frame(rng, shape, inward)
    ids = np.where(frame.tissue, STROMA, 0).astype(np.uint8)
    thick = frame.deepest * rng.uniform(0.29, 0.36)
    ripple = 0.05 * smooth_field(rng, shape, wavelength=0.35 * min(shape))
    ids[frame.tissue & (frame.depth < thick + ripple)] = NORMAL
    tumour = _tumour(rng, frame, thick)
    ids[frame.tissue & (tumour < 1)] = TUMOUR
    ids[frame.tissue & _pools(rng, frame, thick) & (tumour < 0.83)] = MUCUS
    return Layout(ids=_tidy(ids), inward=inward)


def _frame(rng: np.random.Generator, shape: tuple[int, int], inward: tuple[float, float]) -> _Frame:
    rows, columns = shape
    half = min(shape) / 2
    y, x = np.meshgrid(
        (np.arange(rows, dtype=np.float32) + 0.5 - rows / 2) / half,
        (np.arange(columns, dtype=np.float32) + 0.5 - columns / 2) / half,
        indexing="ij",
    )
    x += 0.055 * smooth_field(rng, shape, wavelength=half) + _ragged(rng, shape, half)
    y += 0.055 * smooth_field(rng, shape, wavelength=half) + _ragged(rng, shape, half)
    wide, high = columns / min(shape) - 0.15, rows / min(shape) - 0.15
    tissue = (np.abs(x) / wide) ** 4 + (np.abs(y) / high) ** 4 < 1
    reach = _support(wide, high, inward)
    return _Frame(
        depth=x * inward[0] + y * inward[1] + reach,
        along=y * inward[0] - x * inward[1],
        tissue=_largest(np.asarray(ndimage.binary_fill_holes(tissue), bool)),
        deepest=2 * reach,
        widest=2 * _support(wide, high, (-inward[1], inward[0])),
    )


def _ragged(rng: np.random.Generator, shape: tuple[int, int], half: float) -> Field:
    return 0.010 * smooth_field(rng, shape, wavelength=half / 8)


def _support(wide: float, high: float, direction: tuple[float, float]) -> float:
    """How far the superellipse of power 4 reaches in a direction (its support function)."""
    power = 4 / 3
    parts = abs(wide * direction[0]) ** power + abs(high * direction[1]) ** power
    return float(parts ** (1 / power))


def _tumour(rng: np.random.Generator, frame: _Frame, thick: float) -> Field:
    """Return a field below 1 inside the tumour: a warped ellipse that may break the mucosa."""
    room = frame.deepest - thick
    centre = thick + room * rng.uniform(0.42, 0.50)
    across = frame.widest * rng.uniform(-0.11, 0.11)
    high, wide = room * rng.uniform(0.42, 0.49), frame.widest * rng.uniform(0.28, 0.33)
    field = np.hypot((frame.depth - centre) / high, (frame.along - across) / wide)
    shape = field.shape
    lobes = 0.13 * smooth_field(rng, shape, wavelength=0.28 * min(shape))
    tongues = 0.05 * smooth_field(rng, shape, wavelength=0.09 * min(shape))
    return (field + lobes + tongues).astype(np.float32)


def _pools(rng: np.random.Generator, frame: _Frame, thick: float) -> NDArray[np.bool_]:
    room = frame.deepest - thick
    centre = thick + room * rng.uniform(0.42, 0.54)
    wobble = 0.16 * smooth_field(rng, frame.depth.shape, wavelength=0.16 * min(frame.depth.shape))
    side = rng.choice([-1.0, 1.0])
    inside = np.zeros(frame.depth.shape, bool)
    for offset, radius in ((0.13, rng.uniform(0.33, 0.39)), (-0.15, rng.uniform(0.18, 0.24))):
        along = frame.along - side * offset * frame.widest
        depth = frame.depth - centre - rng.uniform(-0.06, 0.06) * room
        inside |= np.hypot(along / 1.15, depth) / radius + wobble < 1
    return inside


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts = _parts(mask)
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def _parts(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the connected parts of a mask from 1; 0 is outside."""
    parts = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=parts)
    return parts


def _tidy(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give specks too small to be outlined by a person to the compartment around them."""
    least = ids.size // 4000
    for index in (TUMOUR, NORMAL, MUCUS, STROMA):
        labelled = _parts(ids == index)
        small = np.bincount(labelled.ravel()) < least
        small[0] = False
        specks = small[labelled]
        if specks.any():
            nearest = np.zeros((2, *ids.shape), np.int32)
            hollow = specks | (ids == 0)
            ndimage.distance_transform_edt(
                hollow, return_distances=False, return_indices=True, indices=nearest
            )
            ids = np.where(specks, ids[nearest[0], nearest[1]], ids)
    return ids
