"""Paint a planted slide, band by band, so that only bytes are held at full size."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic.backdrop import Backdrop, enlarge
from wsi_vit.slides.synthetic.looks import CRYPT, TUMOUR_GLAND
from wsi_vit.slides.synthetic.noise import Field
from wsi_vit.slides.synthetic.planes import Planes
from wsi_vit.slides.synthetic.stain import Stain
from wsi_vit.slides.synthetic.textures import SIDE, Textures

_BAND = 128
"""Rows painted at once: few enough to stay in the processor's cache."""

_F = np.float32
_BYTES = np.arange(256, dtype=np.float32)
_NUCLEUS_COVER = np.clip(_BYTES / 90, 0, 1)
_NUCLEUS_DENSITY = 1.42 * _BYTES / 255
_SHARE = _BYTES / 255


@dataclass(frozen=True, slots=True)
class _Band:
    """The rows being painted: stains and grain, each of shape (rows, width), changed in place."""

    top: int
    bottom: int
    haematoxylin: Field
    eosin: Field
    grain: Field

    def cover(self, cover: Field, haematoxylin: Field | float, eosin: Field | float) -> None:
        """Lay something of the given stain over what is there, as far as it covers."""
        self.haematoxylin[:] += cover * (haematoxylin - self.haematoxylin)
        self.eosin[:] += cover * (eosin - self.eosin)


@dataclass(frozen=True, slots=True)
class Painter:
    """Turns planes and a backdrop into RGB."""

    planes: Planes
    backdrop: Backdrop
    stain: Stain
    textures: Textures
    scale: float
    """Texture pixels a base pixel: 1 at 0.5 um/px."""
    pen: NDArray[np.float32]
    """Optical density of the pen, shape (3,)."""

    def bands(self) -> Iterator[NDArray[np.uint8]]:
        """Yield RGB bands from top to bottom, each of shape (rows, width, 3)."""
        for top in range(0, self.planes.height, _BAND):
            yield self._paint(top, min(top + _BAND, self.planes.height))

    def _paint(self, top: int, bottom: int) -> NDArray[np.uint8]:
        band = self._ground(top, bottom)
        self._add_glands(band)
        self._add_nuclei(band)
        inside = _edge(enlarge(self.backdrop.tissue, top, bottom), band.grain)
        band.haematoxylin[:] *= inside
        band.eosin[:] *= inside
        return self._colour(band)

    def _ground(self, top: int, bottom: int) -> _Band:
        """Return the stain of everything between glands and nuclei."""
        back = self.backdrop
        rows = np.arange(top, bottom) & (SIDE - 1)
        grain = self.textures.grain[rows][:, np.arange(self.planes.width) & (SIDE - 1)]
        fibre, web = self._warped(top, bottom)
        fibres, wisps = enlarge(back.fibres, top, bottom), enlarge(back.wisps, top, bottom)
        gap = np.clip((_F(0.17) - fibre) * 9, 0, 1) * fibres
        eosin = enlarge(back.eosin, top, bottom)
        eosin *= 1 + fibres * (_F(0.95) * (fibre - _F(0.5)))
        eosin *= (1 - _F(0.85) * gap) * (_F(0.84) + _F(0.32) * grain)
        haematoxylin = enlarge(back.haematoxylin, top, bottom)
        haematoxylin *= 1 + wisps * (_F(2.6) * web + _F(0.5) * (fibre - _F(0.5)) - _F(0.1))
        haematoxylin *= (1 - _F(0.8) * gap) * (_F(0.8) + _F(0.4) * grain)
        return _Band(top, bottom, haematoxylin, eosin, grain)

    def _warped(self, top: int, bottom: int) -> tuple[Field, Field]:
        """Return fibres and web sampled along wavy coordinates."""
        across = enlarge(self.backdrop.across, top, bottom)
        y = np.arange(top, bottom, dtype=np.float32)[:, None]
        x = np.arange(self.planes.width, dtype=np.float32)[None, :]
        v = ((across + y) * _F(self.scale)).astype(np.int32) & (SIDE - 1)
        u = ((x + _F(0.35) * across) * _F(self.scale)).astype(np.int32) & (SIDE - 1)
        at = v * SIDE + u
        return self.textures.fibres.ravel().take(at), self.textures.web.ravel().take(at)

    def _add_glands(self, band: _Band) -> None:
        wall = _F(0.76) + _F(0.48) * band.grain
        for plane, look in (
            (self.planes.crypts, CRYPT),
            (self.planes.tumour, TUMOUR_GLAND),
        ):
            rho = self.planes.band(plane, band.top, band.bottom)
            if rho.min() < 255:
                band.cover(look.cover[rho], look.haematoxylin[rho] * wall, look.eosin[rho] * wall)
        debris = _SHARE[self.planes.band(self.planes.debris, band.top, band.bottom)]
        if debris.any():
            band.eosin[:] += debris * (_F(0.08) + _F(0.62) * band.grain)
            band.haematoxylin[:] += debris * _F(0.26) * band.grain
        drops = _SHARE[self.planes.band(self.planes.vacuoles, band.top, band.bottom)]
        if drops.any():
            band.cover(drops, _F(0.05) + _F(0.13) * band.grain, 0.035)

    def _add_nuclei(self, band: _Band) -> None:
        nuclei = self.planes.band(self.planes.nuclei, band.top, band.bottom)
        cover = _NUCLEUS_COVER[nuclei]
        band.eosin[:] *= 1 - _F(0.55) * cover
        band.haematoxylin[:] *= 1 - cover
        band.haematoxylin[:] += _NUCLEUS_DENSITY[nuclei] * (_F(0.85) + _F(0.3) * band.grain)

    def _colour(self, band: _Band) -> NDArray[np.uint8]:
        """Return RGB by Beer-Lambert's law, over glass that is lit a little unevenly."""
        rgb = np.empty((*band.eosin.shape, 3), np.uint8)
        y = np.arange(band.top, band.bottom, dtype=np.float32)[:, None] / self.planes.height
        x = np.arange(self.planes.width, dtype=np.float32)[None, :] / self.planes.width
        pen = enlarge(self.backdrop.pen, band.top, band.bottom)
        for channel in range(3):
            h, e = self.stain.vectors[:, channel]
            density = band.haematoxylin * h + band.eosin * e
            if pen.any():
                density += pen * self.pen[channel]
            light = self.stain.glass[channel] * (1 - _F(0.012) * (x + y))
            np.multiply(np.exp(-density), light, out=density)
            rgb[..., channel] = density + _F(0.5)
        return rgb


def _edge(tissue: Field, grain: Field) -> Field:
    """Return the tissue's cover (0..1): its soft coarse edge, made sharp and a little ragged."""
    ragged = tissue - _F(0.5) + _F(0.25) * (grain - _F(0.5))
    return np.clip(_F(4) * ragged + _F(0.5), 0, 1)
