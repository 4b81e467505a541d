"""Plant the compartments: crypts in the mucosa, crowded glands in the tumour, cells between."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic import nuclei as kinds
from wsi_vit.slides.synthetic.glands import Gland, Points, make_gland
from wsi_vit.slides.synthetic.layout import Layout
from wsi_vit.slides.synthetic.planes import RHO_ONE, Planes, press, press_turned, window
from wsi_vit.slides.synthetic.settings import (
    MASK_FACTOR,
    MUCUS,
    NORMAL,
    STROMA,
    TUMOUR,
    SyntheticSection,
)


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


def plant(
    rng: np.random.Generator,
    layout: Layout,
    section: SyntheticSection,
    flow: NDArray[np.float32],
) -> Planes:
    """Return the planes of a slide, planted."""
    planes = Planes(section.width_px, section.height_px)
    planter = Planter(rng, layout, planes, section.px_per_um, flow)
    plant_mucosa(planter)
    plant_tumour(planter)
    plant_stroma(planter)
    plant_mucus(planter)
    return planes


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
    turns = [(c, _turns(rng, c.radius, every=5.6 * unit, share=0.86)) for c in crypts]
    for crypt, turn in turns:
        share = rng.normal(0.87, 0.025, len(turn))
        angles = crypt.radial(turn) + rng.normal(0, 0.25, len(turn))
        press_turned(rng, planter.planes.nuclei, crypt.point(turn, share), angles, epithelium)
    _plant_lamina_propria(planter)


def _plant_goblets(planter: Planter, crypt: Gland, droplets: tuple[list[kinds.Stamp], ...]) -> None:
    """Plant goblet cells: a round body towards the base, narrowing towards the lumen."""
    rng = planter.rng
    turn = _turns(rng, crypt.radius, every=11.0 * planter.px_per_um, share=0.60)
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
    return _fitting(planter, xy, NORMAL, np.full(len(xy), 0.42 * spacing))


def _fitting(planter: Planter, xy: Points, index: int, radii: NDArray[np.float64]) -> Points:
    """Keep the centres whose circles lie in a compartment."""
    return xy[_fits(planter, xy, index, radii)]


def _fits(
    planter: Planter, xy: Points, index: int, radii: NDArray[np.float64]
) -> NDArray[np.bool_]:
    width, height = planter.planes.width, planter.planes.height
    kept = np.asarray(((xy > 0) & (xy < (width, height))).all(axis=1))
    for angle in np.arange(12) * np.pi / 6:
        kept &= planter.is_in(xy + radii[:, None] * (np.cos(angle), np.sin(angle)), index)
    return kept


def _turns(
    rng: np.random.Generator, radius: float, *, every: float, share: float
) -> NDArray[np.float64]:
    """Return polar angles about `every` pixels apart at a share of a radius."""
    count = max(int(2 * np.pi * radius * share / every), 3)
    spread = rng.normal(0, 0.16, count)
    return (np.arange(count) + rng.random() + spread) * 2 * np.pi / count


def plant_tumour(planter: Planter) -> None:
    """Plant crowded, irregular and cribriform glands with stratified, dark, uneven nuclei."""
    planes = planter.planes
    dark, pale = planter.stamps(kinds.CARCINOMA), planter.stamps(kinds.VESICULAR)
    crumbs = planter.stamps(kinds.DEBRIS)
    holes = [kinds.vacuole_stamps(radius, planter.px_per_um) for radius in (9, 13, 17)]
    for gland, is_cribriform in _tumour_glands(planter):
        lumen = gland.draw(planes.tumour)
        if is_cribriform:
            _punch(planter, gland, holes)
        elif planter.rng.random() < 0.55:
            _plant_necrosis(planter, gland, lumen, crumbs)
        _line(planter, gland, dark if planter.rng.random() < 0.75 else pale)
    _plant_desmoplasia(planter)


def _tumour_glands(planter: Planter) -> list[tuple[Gland, bool]]:
    rng, unit = planter.rng, planter.px_per_um
    glands = []
    for x, y, radius in _crowd(planter, largest=95 * unit, smallest=20 * unit):
        is_cribriform = radius > 45 * unit and rng.random() < 0.38
        wall = rng.uniform(21, 29) * unit
        lumen = 0.03 if is_cribriform else float(np.clip(1 - wall / radius, 0.06, 0.72))
        stretch = (rng.uniform(1.0, 1.28), rng.uniform(0, np.pi))
        wobble = rng.uniform(0.08, 0.17)
        gland = make_gland(rng, (x, y), radius=radius, wobble=wobble, stretch=stretch, lumen=lumen)
        glands.append((gland, is_cribriform))
    return glands


def _crowd(planter: Planter, *, largest: float, smallest: float) -> list[list[float]]:
    """Return circles (x, y, radius) thrown into the tumour, large ones first, almost touching."""
    rng = planter.rng
    tries = planter.scatter(5000, TUMOUR)
    radii = smallest + (largest - smallest) * np.linspace(1, 0, len(tries)) ** 2.2
    inside = _fits(planter, tries, TUMOUR, 0.80 * radii)
    candidates = np.column_stack([tries, radii * rng.uniform(0.85, 1.1, len(radii))])[inside]
    kept = np.zeros_like(candidates)
    count = 0
    for circle in candidates:
        gaps = np.hypot(*(kept[:count, :2] - circle[:2]).T)
        if (gaps > 0.93 * (kept[:count, 2] + circle[2])).all():
            kept[count] = circle
            count += 1
    return kept[:count].tolist()


def _punch(planter: Planter, gland: Gland, holes: list[list[kinds.Stamp]]) -> None:
    """Punch the small round lumina of a cribriform gland."""
    rng, unit = planter.rng, planter.px_per_um
    count = int(0.26 * (gland.radius / (13 * unit)) ** 2) + 3
    kept: list[NDArray[np.float64]] = []
    turn, share = rng.uniform(0, 2 * np.pi, 6 * count), np.sqrt(rng.uniform(0, 0.52, 6 * count))
    for xy in gland.point(turn, share):
        if len(kept) < count and all(np.hypot(*(xy - other)) > 38 * unit for other in kept):
            kept.append(xy)
    stamps = [holes[rng.integers(3)][rng.integers(12)] for _ in kept]
    press(planter.planes.vacuoles, np.array(kept), stamps)


def _plant_necrosis(
    planter: Planter, gland: Gland, lumen: NDArray[np.bool_], crumbs: list[list[kinds.Stamp]]
) -> None:
    rng = planter.rng
    target = window(planter.planes.debris, gland.x, gland.y, gland.reach)
    target[lumen] = rng.integers(120, 256)
    count = int(lumen.sum() / (95 * planter.px_per_um**2))
    turn = rng.uniform(0, 2 * np.pi, count)
    xy = gland.point(turn, gland.lumen * 0.92 * np.sqrt(rng.random(count)))
    angles = rng.uniform(0, np.pi, count)
    press_turned(rng, planter.planes.nuclei, xy, angles, crumbs)


def _line(planter: Planter, gland: Gland, stamps: list[list[kinds.Stamp]]) -> None:
    """Line a gland with nuclei in two to four rows, long axes towards the lumen."""
    rng, planes, unit = planter.rng, planter.planes, planter.px_per_um
    wall = gland.radius * (1 - gland.lumen)
    rows = max(int(wall / (8.6 * unit)), 2)
    shares = np.linspace(1 - 6.0 * unit / gland.radius, _innermost(gland), rows)
    for share in shares[shares > 0.05]:
        turn = _turns(rng, gland.radius, every=rng.uniform(8.0, 9.4) * unit, share=share)
        jitter = rng.normal(0, 2.2 * unit / gland.radius, len(turn))
        xy = gland.point(turn, np.clip(share + jitter, 0, 0.97))
        free = (planes.at(planes.vacuoles, xy) < 60) & (planes.at(planes.tumour, xy) > 75)
        angles = gland.radial(turn) + rng.normal(0, 0.38, len(turn))
        press_turned(rng, planes.nuclei, xy[free], angles[free], stamps)


def _innermost(gland: Gland) -> float:
    """Return where the innermost row of nuclei lies; solid nests are filled to the centre."""
    return 0.1 if gland.lumen < 0.06 else gland.lumen + 0.32 * (1 - gland.lumen)


def _plant_desmoplasia(planter: Planter) -> None:
    rng, planes = planter.rng, planter.planes
    for kind, density in ((kinds.FIBROBLAST, 1500), (kinds.LYMPHOCYTE, 520)):
        xy = planter.scatter(density, TUMOUR)
        xy = xy[planes.at(planes.tumour, xy) > 1.1 * RHO_ONE]
        angles = planter.directions(xy) + rng.normal(0, 0.3, len(xy))
        press_turned(rng, planes.nuclei, xy, angles, planter.stamps(kind))


def plant_stroma(planter: Planter) -> None:
    """Plant spindle nuclei along the fibres, stray lymphocytes and a few follicles of them."""
    rng, planes = planter.rng, planter.planes
    for kind, density in ((kinds.FIBROBLAST, rng.uniform(650, 1100)), (kinds.LYMPHOCYTE, 110)):
        xy = planter.scatter(density, STROMA)
        angles = planter.directions(xy) + rng.normal(0, 0.16, len(xy))
        press_turned(rng, planes.nuclei, xy, angles, planter.stamps(kind))
    cores = planter.scatter(rng.uniform(2, 5), STROMA)
    spread = rng.uniform(35, 70, len(cores)) * planter.px_per_um
    cells = [
        rng.normal(core, deviation, (int((deviation / planter.px_per_um) ** 2 / 9), 2))
        for core, deviation in zip(cores, spread, strict=True)
    ]
    if cells:
        xy = np.concatenate(cells)
        xy = xy[planter.is_in(xy, STROMA)]
        angles = rng.uniform(0, np.pi, len(xy))
        press_turned(rng, planes.nuclei, xy, angles, planter.stamps(kinds.LYMPHOCYTE))


def plant_mucus(planter: Planter) -> None:
    """Plant strips of tumour cells afloat in the pools, and a few inflammatory cells."""
    rng, planes, unit = planter.rng, planter.planes, planter.px_per_um
    centres = planter.scatter(16, MUCUS)
    centres = _fitting(planter, centres, MUCUS, np.full(len(centres), 55 * unit))
    stamps = planter.stamps(kinds.CARCINOMA)
    for x, y in centres.tolist():
        gland = make_gland(
            rng,
            (x, y),
            radius=rng.uniform(16, 34) * unit,
            wobble=0.16,
            stretch=(rng.uniform(1.1, 1.5), rng.uniform(0, np.pi)),
            lumen=0.05 if rng.random() < 0.5 else 0.4,
        )
        gland.draw(planes.tumour)
        _line(planter, gland, stamps)
    xy = planter.scatter(70, MUCUS)
    angles = rng.uniform(0, np.pi, len(xy))
    press_turned(rng, planes.nuclei, xy, angles, planter.stamps(kinds.LYMPHOCYTE))
