"""A cohort of synthetic slides: files, truth and the cohort.csv that names them."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_vit.ahead import done_ahead
from wsi_vit.slides.overview import worker_count
from wsi_vit.slides.synthetic.aperio import write_aperio
from wsi_vit.slides.synthetic.backdrop import backdrop_of, flow_of, wave
from wsi_vit.slides.synthetic.layout import Layout, lay_out
from wsi_vit.slides.synthetic.marks import PENS, pen_stroke, sprinkle_dust
from wsi_vit.slides.synthetic.noise import Field
from wsi_vit.slides.synthetic.painting import Painter
from wsi_vit.slides.synthetic.planting import plant
from wsi_vit.slides.synthetic.settings import MASK_FACTOR, SyntheticSection
from wsi_vit.slides.synthetic.stain import Stain, stain_of
from wsi_vit.slides.synthetic.textures import all_textures
from wsi_vit.slides.synthetic.truth import write_mask, write_outlines
from wsi_vit.store import write_whole

_MOST_AT_ONCE = 4
"""Slides that are drawn side by side, each of which is held in memory as a whole."""

_COLUMNS = ("slide", "slide_id", "patient", "site", "annotations", "mpp")


@dataclass(frozen=True, slots=True)
class SyntheticSlide:
    """One slide in memory."""

    picture: NDArray[np.uint8]
    """Shape (height, width, 3), RGB."""
    layout: Layout
    stain: Stain
    """What it was painted with."""


def synthesise_cohort(
    out: Path, *, slides: int, seed: int = 0, section: SyntheticSection | None = None
) -> Path:
    """Write slides with their truth below `out`, and return the path of their cohort.csv.

    The folder holds `slides/<id>.svs`, `annotations/<id>.geojson` (QuPath's form, base pixels),
    `masks/<id>.png` (ids of `CLASSES` from 1, 0 is glass, one pixel for 4 base pixels) and
    `cohort.csv`, written last. The same seed and section give the same bytes; slide n is the same
    in a cohort of any size.

    Raises:
        OSError: The folder cannot be written.
    """
    drawn = section or SyntheticSection()
    rows = done_ahead(
        lambda number: _write_slide(out, number, seed, drawn),
        range(slides),
        threads=min(_MOST_AT_ONCE, worker_count()),
        ahead=_MOST_AT_ONCE,
    )
    return _write_table(out / "cohort.csv", list(rows))


def _write_slide(out: Path, number: int, seed: int, section: SyntheticSection) -> tuple[str, ...]:
    """Draw a slide and write its files; return its row."""
    slide_id, patient, site = _names(number, section)
    slide = synthesise_slide(seed=seed, number=number, section=section)
    write_aperio(slide.picture, out / "slides" / f"{slide_id}.svs", section)
    outlines = f"annotations/{slide_id}.geojson"
    write_outlines(slide.layout.ids, out / outlines, slide_id=slide_id)
    write_mask(slide.layout.ids, out / "masks" / f"{slide_id}.png")
    files = (f"slides/{slide_id}.svs", slide_id, patient, f"site-{site + 1}")
    return (*files, outlines, f"{section.mpp:g}")


def synthesise_slide(
    *, seed: int, number: int, section: SyntheticSection | None = None
) -> SyntheticSlide:
    """Return slide `number` of a cohort, painted."""
    section = section or SyntheticSection()
    rng = np.random.default_rng([seed, number])
    layout = lay_out(rng, section)
    across = wave(rng, section)
    stain = stain_of(_site(number, section), rng)
    pen = _pen(rng, layout, section, number)
    painter = Painter(
        planes=plant(rng, layout, section, flow_of(across)),
        backdrop=backdrop_of(rng, layout, across, pen, section.px_per_um),
        stain=stain,
        textures=all_textures().turned(rng),
        scale=2 * section.mpp,
        pen=PENS[rng.integers(len(PENS))],
    )
    picture = np.concatenate(list(painter.bands()))
    sprinkle_dust(rng, picture, unit=section.px_per_um)
    return SyntheticSlide(picture=picture, layout=layout, stain=stain)


def _pen(rng: np.random.Generator, layout: Layout, section: SyntheticSection, number: int) -> Field:
    """Return the pen's cover; at a share of a fifth, every fifth slide carries a mark."""
    if int((number + 1) * section.pen_share) == int(number * section.pen_share):
        return np.zeros(layout.ids.shape, np.float32)
    width = 35 * section.px_per_um / MASK_FACTOR
    return pen_stroke(rng, layout.ids > 0, width=width)


def _names(number: int, section: SyntheticSection) -> tuple[str, str, int]:
    patient = number // section.slides_per_patient
    return f"synthetic-{number + 1:03d}", f"patient-{patient + 1:03d}", _site(number, section)


def _site(number: int, section: SyntheticSection) -> int:
    """A patient's slides all come from one laboratory."""
    return number // section.slides_per_patient % section.sites


def _write_table(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with write_whole(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
    return path
