"""Plant the compartments of a slide: mucosa, tumour, stroma and pools of mucus."""

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic import nuclei as kinds
from wsi_vit.slides.synthetic.glands import make_gland
from wsi_vit.slides.synthetic.layout import Layout
from wsi_vit.slides.synthetic.mucosa import plant_mucosa
from wsi_vit.slides.synthetic.planes import Planes, press_turned
from wsi_vit.slides.synthetic.planter import Planter
from wsi_vit.slides.synthetic.settings import MUCUS, STROMA, SyntheticSection
from wsi_vit.slides.synthetic.tumour import line_gland, plant_tumour


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
    centres = centres[planter.fits(centres, MUCUS, np.full(len(centres), 55 * unit))]
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
        line_gland(planter, gland, stamps)
    xy = planter.scatter(70, MUCUS)
    angles = rng.uniform(0, np.pi, len(xy))
    press_turned(rng, planes.nuclei, xy, angles, planter.stamps(kinds.LYMPHOCYTE))
