"""Plant the mucosa: regular round crypts with goblet cells, a cellular lamina propria between."""

import numpy as np

from wsi_vit.slides.synthetic import nuclei as kinds
from wsi_vit.slides.synthetic.glands import Gland, Points, make_gland
from wsi_vit.slides.synthetic.planes import RHO_ONE, press, press_turned
from wsi_vit.slides.synthetic.planter import Planter, spaced_turns
from wsi_vit.slides.synthetic.settings import NORMAL


def plant_mucosa(planter: Planter) -> None:
    """Plant regular round crypts with goblet cells, and a cellular lamina propria between."""
    rng, unit = planter.rng, planter.px_per_um
    inward = float(np.arctan2(planter.layout.inward[1], planter.layout.inward[0]))
    centres = _lattice(planter, spacing=rng.uniform(74, 81) * unit)
    stretch = rng.uniform(1.02, 1.18)
    crypts = [
        make_gland(
            rng,
            (x, y),
            radius=rng.normal(33.5, 1.8) * unit,
            wobble=0.07,
            stretch=(stretch * rng.uniform(0.96, 1.06), inward + rng.normal(0, 0.2)),
            lumen=rng.uniform(0.16, 0.24),
        )
        for x, y in centres.tolist()
    ]
    epithelium = planter.stamps(kinds.COLONOCYTE)
    droplets = kinds.vacuole_stamps(5.0, unit), kinds.vacuole_stamps(3.6, unit)
    for crypt in crypts:
        crypt.draw(planter.planes.crypts)
        _plant_goblets(planter, crypt, droplets)
    turns = [(c, spaced_turns(rng, c.radius, every=5.6 * unit, share=0.86)) for c in crypts]
    for crypt, turn in turns:
        share = rng.normal(0.87, 0.025, len(turn))
        angles = crypt.radial(turn) + rng.normal(0, 0.25, len(turn))
        press_turned(rng, planter.planes.nuclei, crypt.point(turn, share), angles, epithelium)
    _plant_lamina_propria(planter)


def _plant_goblets(planter: Planter, crypt: Gland, droplets: tuple[list[kinds.Stamp], ...]) -> None:
    """Plant goblet cells: a round body towards the base, narrowing towards the lumen."""
    rng = planter.rng
    turn = spaced_turns(rng, crypt.radius, every=11.0 * planter.px_per_um, share=0.60)
    turn = turn[rng.random(len(turn)) < 0.86]
    share = rng.normal(0.66, 0.025, len(turn))
    for stamps, depth in zip(droplets, (0.0, 0.13), strict=True):
        xy = crypt.point(turn, share - depth)
        press(planter.planes.vacuoles, xy, [stamps[i] for i in rng.integers(12, size=len(turn))])


def _plant_lamina_propria(planter: Planter) -> None:
    rng, planes = planter.rng, planter.planes
    for kind, density in (
        (kinds.LYMPHOCYTE, 5200),
        (kinds.PLASMA_CELL, 4200),
        (kinds.FIBROBLAST, 1500),
    ):
        xy = planter.scatter(density, NORMAL)
        xy = xy[planes.at(planes.crypts, xy) > 1.08 * RHO_ONE]
        angles = rng.uniform(0, np.pi, len(xy))
        press_turned(rng, planes.nuclei, xy, angles, planter.stamps(kind))


def _lattice(planter: Planter, *, spacing: float) -> Points:
    """Return a jittered hexagonal lattice of the crypts that fit into the mucosa."""
    rng, planes = planter.rng, planter.planes
    far = int(np.hypot(planes.width, planes.height) / spacing) + 2
    i, j = np.meshgrid(np.arange(-far, far), np.arange(-far, far))
    grid = np.stack([i + 0.5 * (j % 2), j * np.sqrt(0.75)], axis=-1).reshape(-1, 2) * spacing
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    xy = grid @ turn + rng.normal(0, 0.055 * spacing, grid.shape)
    return xy[planter.fits(xy, NORMAL, np.full(len(xy), 0.42 * spacing))]
