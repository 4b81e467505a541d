"""Paint a planted slide, band by band, so that only bytes are held at full size."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_vit.slides.synthetic.layout import Layout
from wsi_vit.slides.synthetic.noise import Field, smooth_field, tiling_noise
from wsi_vit.slides.synthetic.planes import RHO_ONE, Planes
from wsi_vit.slides.synthetic.settings import MASK_FACTOR, SyntheticSection
from wsi_vit.slides.synthetic.stain import Stain

_SIDE = 1024
"""Pixels a side of the textures that tile the slide."""

_BAND = 128

#            glass, tumour, normal, stroma, mucus
_HAEMATOXYLIN = (0.0, 0.13, 0.13, 0.06, 0.085)
_EOSIN = (0.0, 0.40, 0.27, 0.47, 0.035)
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


@dataclass(frozen=True, slots=True)
class Painter:
    """Turns planes and a backdrop into RGB."""

    planes: Planes
    backdrop: Backdrop
    stain: Stain
    fibres: NDArray[np.float32]
    grain: NDArray[np.float32]
    scale: float
    """Texture pixels a base pixel: 1 at 0.5 um/px."""
    pen: NDArray[np.float32]
    """Optical density of the pen, shape (3,)."""

    def bands(self) -> Iterator[NDArray[np.uint8]]:
        """Yield RGB bands from top to bottom, each of shape (rows, width, 3)."""
        for top in range(0, self.planes.height, _BAND):
            yield self._band(top, min(top + _BAND, self.planes.height))

    def _band(self, top: int, bottom: int) -> NDArray[np.uint8]:
        grain = self._grain(top, bottom)
        haematoxylin, eosin = self._ground(top, bottom, grain)
        self._add_glands(top, bottom, haematoxylin, eosin, grain)
        nuclei = self.planes.band(self.planes.nuclei, top, bottom)
        cover = _NUCLEUS_COVER[nuclei]
        eosin *= 1 - np.float32(0.72) * cover
        haematoxylin *= 1 - cover
        haematoxylin += _NUCLEUS_DENSITY[nuclei]
        inside = _edge(self._coarse(self.backdrop.tissue, top, bottom), grain)
        haematoxylin *= inside
        eosin *= inside
        return self._colour(top, haematoxylin, eosin, self._coarse(self.backdrop.pen, top, bottom))

    def _coarse(self, field: Field, top: int, bottom: int) -> Field:
        return enlarge(field, top, bottom)

    def _grain(self, top: int, bottom: int) -> Field:
        rows = np.arange(top, bottom) % _SIDE
        return (
            np.resize(self.grain[rows], (bottom - top, self.planes.width))
            if (self.planes.width == _SIDE)
            else self.grain[rows][:, np.arange(self.planes.width) % _SIDE]
        )

    def _ground(self, top: int, bottom: int, grain: Field) -> tuple[Field, Field]:
        """Return haematoxylin and eosin of everything between glands and nuclei."""
        texture = self._texture(top, bottom)
        fibres = self._coarse(self.backdrop.fibres, top, bottom)
        wisps = self._coarse(self.backdrop.wisps, top, bottom)
        eosin = self._coarse(self.backdrop.eosin, top, bottom)
        eosin *= 1 + fibres * (np.float32(0.95) * (texture - np.float32(0.5)))
        gap = np.clip((np.float32(0.17) - texture) * 9, 0, 1) * fibres
        eosin *= 1 - np.float32(0.85) * gap
        eosin *= np.float32(0.86) + np.float32(0.28) * grain
        haematoxylin = self._coarse(self.backdrop.haematoxylin, top, bottom)
        wisp = np.clip((texture - np.float32(0.62)) * np.float32(2.6), 0, 1) ** 2
        haematoxylin *= 1 + wisps * (np.float32(1.5) * wisp - np.float32(0.25))
        haematoxylin *= np.float32(0.8) + np.float32(0.4) * grain
        haematoxylin *= 1 - np.float32(0.8) * gap
        return haematoxylin, eosin

    def _texture(self, top: int, bottom: int) -> Field:
        """Sample the fibres along warped coordinates."""
        across = self._coarse(self.backdrop.across, top, bottom)
        y = np.arange(top, bottom, dtype=np.float32)[:, None]
        x = np.arange(self.planes.width, dtype=np.float32)[None, :]
        v = ((across + y) * np.float32(self.scale)).astype(np.int32) & (_SIDE - 1)
        u = ((x + np.float32(0.35) * across) * np.float32(self.scale)).astype(np.int32)
        return self.fibres.ravel().take(v * _SIDE + (u & (_SIDE - 1)))

    def _add_glands(
        self, top: int, bottom: int, haematoxylin: Field, eosin: Field, grain: Field
    ) -> None:
        planes = self.planes
        wall = np.float32(0.78) + np.float32(0.44) * grain
        for plane, look in ((planes.crypts, _CRYPT), (planes.tumour, _TUMOUR_GLAND)):
            rho = planes.band(plane, top, bottom)
            cover = look.cover[rho]
            haematoxylin += cover * (look.haematoxylin[rho] * wall - haematoxylin)
            eosin += cover * (look.eosin[rho] * wall - eosin)
        debris = planes.band(planes.debris, top, bottom) * np.float32(1 / 255)
        eosin += debris * (np.float32(0.1) + np.float32(0.75) * grain)
        haematoxylin += debris * np.float32(0.16) * grain
        mucin = planes.band(planes.vacuoles, top, bottom) * np.float32(1 / 255)
        haematoxylin += mucin * (np.float32(0.055) + np.float32(0.05) * grain - haematoxylin)
        eosin += mucin * (np.float32(0.03) - eosin)

    def _colour(self, top: int, haematoxylin: Field, eosin: Field, pen: Field) -> NDArray[np.uint8]:
        rgb = np.empty((*haematoxylin.shape, 3), np.uint8)
        rows = np.linspace(0, 1, self.planes.height, dtype=np.float32)[
            top : top + len(haematoxylin), None
        ]
        columns = np.linspace(0, 1, self.planes.width, dtype=np.float32)[None, :]
        shade = 1 - np.float32(0.012) * (rows + columns)
        has_pen = bool(pen.any())
        for channel in range(3):
            h, e = self.stain.vectors[:, channel]
            density = haematoxylin * h + eosin * e
            if has_pen:
                density += pen * self.pen[channel]
            np.multiply(np.exp(-density), shade * self.stain.glass[channel], out=density)
            rgb[..., channel] = density
        return rgb


@dataclass(frozen=True, slots=True)
class _Look:
    """A gland's stain by the value of its plane, each of shape (256,)."""

    cover: NDArray[np.float32]
    haematoxylin: NDArray[np.float32]
    eosin: NDArray[np.float32]


def _look(*stops: tuple[float, float, float, float]) -> _Look:
    """Interpolate between (share of radius, cover, haematoxylin, eosin)."""
    at = np.arange(256) / RHO_ONE
    share, *values = zip(*stops, strict=True)
    cover, haematoxylin, eosin = (np.interp(at, share, v).astype(np.float32) for v in values)
    return _Look(cover, haematoxylin, eosin)


_CRYPT = _look(
    (0.00, 1.0, 0.03, 0.03),
    (0.36, 1.0, 0.03, 0.04),
    (0.41, 1.0, 0.14, 0.46),
    (0.50, 1.0, 0.17, 0.34),
    (0.80, 1.0, 0.22, 0.40),
    (0.97, 1.0, 0.24, 0.46),
    (1.00, 1.0, 0.12, 0.62),
    (1.03, 0.9, 0.08, 0.40),
    (1.06, 0.0, 0.05, 0.20),
)
_TUMOUR_GLAND = _look(
    (0.00, 1.0, 0.02, 0.02),
    (0.37, 1.0, 0.02, 0.03),
    (0.41, 1.0, 0.20, 0.55),
    (0.47, 1.0, 0.25, 0.42),
    (0.97, 1.0, 0.30, 0.44),
    (1.00, 1.0, 0.16, 0.30),
    (1.04, 0.7, 0.06, 0.12),
    (1.08, 0.0, 0.05, 0.10),
)
_BYTES = np.arange(256, dtype=np.float32)
_NUCLEUS_COVER = np.clip(_BYTES / 90, 0, 1)
_NUCLEUS_DENSITY = _BYTES / 255 * np.float32(1.28)


def _edge(tissue: Field, grain: Field) -> Field:
    """Return the tissue's cover (0..1): its soft coarse edge, made sharp and a little ragged."""
    return np.clip(
        (tissue - np.float32(0.5) + (grain - np.float32(0.5)) * np.float32(0.25)) * 4
        + np.float32(0.5),
        0,
        1,
    )


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


def textures(
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return fibres (long along x) and grain, shape (1024, 1024), 0..1, tiling seamlessly."""
    thick = tiling_noise(rng, _SIDE, sigma=(3.2, 46))
    thin = tiling_noise(rng, _SIDE, sigma=(1.1, 15))
    fine = tiling_noise(rng, _SIDE, sigma=(0.7, 0.7))
    coarse = tiling_noise(rng, _SIDE, sigma=(3.0, 3.0))
    return (0.6 * thick + 0.4 * thin), (0.55 * fine + 0.45 * coarse)
