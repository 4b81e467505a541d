"""Plant the tumour: crowded, irregular and cribriform glands, necrosis, desmoplastic stroma."""

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic import nuclei as kinds
from wsi_vit.slides.synthetic.glands import Gland, make_gland
from wsi_vit.slides.synthetic.planes import RHO_ONE, press, press_turned, window
from wsi_vit.slides.synthetic.planter import Planter, spaced_turns
from wsi_vit.slides.synthetic.settings import TUMOUR


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
        line_gland(planter, gland, dark if planter.rng.random() < 0.75 else pale)
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
    inside = planter.fits(tries, TUMOUR, 0.80 * radii)
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


def line_gland(planter: Planter, gland: Gland, stamps: list[list[kinds.Stamp]]) -> None:
    """Line a gland with nuclei in two to four rows, long axes towards the lumen."""
    rng, planes, unit = planter.rng, planter.planes, planter.px_per_um
    wall = gland.radius * (1 - gland.lumen)
    rows = max(int(wall / (8.6 * unit)), 2)
    shares = np.linspace(1 - 6.0 * unit / gland.radius, _innermost(gland), rows)
    for share in shares[shares > 0.05]:
        turn = spaced_turns(rng, gland.radius, every=rng.uniform(8.0, 9.4) * unit, share=share)
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
