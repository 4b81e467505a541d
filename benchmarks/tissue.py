"""How well the tissue mask fits, beside plain rules, at one scale (8 µm/px).

    python -m benchmarks.tissue [--quick] [--json] [--out FOLDER]

Reads the real files named by WSI_VIT_REAL_DATA (default ../shared/data): a colon slide with a
human-tuned tissue annotation, and two pictures of slides with pen marks; and draws six synthetic
slides, whose truth is exact.

The thresholds of saturation, density, smoothing, filling and dropping were fixed on reasoning
before this script first saw the colon slide, and have not moved since: the first run gave IoU
0.9293. After it the pen veto was changed twice (`red_density`, `drop_um2`), looking at the two pen
pictures only; that took the colon slide to 0.9304. The pen's limits were set on the very pictures
they are judged on, there being no others: those figures show that the limits are met, not that they
hold elsewhere.

`--quick` leaves out the timing's repeats. `--out` writes the overlays as PNG, for looking at.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.telling import options, tell
from wsi_vit.geometry import Region
from wsi_vit.labels import LabelMap
from wsi_vit.slides.annotations import read_annotations
from wsi_vit.slides.overview import Overview, read_overview
from wsi_vit.slides.quality.survey import survey_slide
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.synthetic import synthesise_cohort
from wsi_vit.slides.synthetic.settings import MASK_FACTOR
from wsi_vit.slides.tissue.mask import TissueMask, TissueSection, tissue_of

Mask = NDArray[np.bool_]
_LABELS = LabelMap.model_validate(
    {
        "background": "glass",
        "classes": [
            {"name": "glass", "source": [0], "colour": "#000000"},
            {"name": "tissue", "source": [1], "colour": "#d55e00"},
        ],
    }
)
COLON_MPP = 1.0
"""The colon slide states none; half of about 0.5."""
FIXED_SATURATION = 12


def main() -> None:
    """Compare, print, and keep the result of a full run."""
    parser = options(__doc__, quick="time one run only")
    parser.add_argument("--out", type=Path, help="folder for overlays")
    asked = parser.parse_args()
    root = Path(os.environ.get("WSI_VIT_REAL_DATA", Path(__file__).parents[2] / "shared/data"))
    if not root.is_dir():
        print(json.dumps({"skipped": f"no real files at {root}; set WSI_VIT_REAL_DATA"}))
        return
    section = TissueSection()
    figures = {
        "mpp": section.mpp,
        "colon": colon(root / "wsi-colon", section, 1 if asked.quick else 5, asked.out),
        "synthetic": synthetic(section),
        "pen": {c: pen(root / "artefacts", c, section, asked.out) for c in ("green", "red")},
    }
    tell("tissue", figures, asked)


def colon(folder: Path, section: TissueSection, repeats: int, out: Path | None) -> dict[str, Any]:
    """Compare our mask and plain rules with the annotation of the colon slide."""
    path = folder / "P2_0039_section1_half.tif"
    with open_slide(path, mpp=COLON_MPP) as slide:
        seconds, mask = _timed(lambda: survey_slide(slide, section).mask, repeats)
        overview, size = read_overview(slide, section.mpp), slide.size
    truth = _truth(folder / f"{path.stem}_tissue-mask.tif", overview, size)
    saturation = _saturation(overview.pixels)
    calm = np.asarray(ndimage.median_filter(saturation, 7))
    masks = {
        "wsi_vit": mask.is_tissue,
        "otsu_saturation": saturation > otsu(saturation),
        "otsu_saturation_median_7": calm > otsu(calm),
        "saturation_over_12": saturation > FIXED_SATURATION,
        "saturation_over_12_median_7": calm > FIXED_SATURATION,
    }
    if out:
        _draw(out / "tissue_colon.png", overview.pixels, mask, truth)
    return {
        "iou": {name: round(_iou(found, truth), 4) for name, found in masks.items()},
        "precision": {n: round(float(truth[m].mean()), 4) for n, m in masks.items()},
        "recall": {n: round(float(m[truth].mean()), 4) for n, m in masks.items()},
        "truth_share": round(float(truth.mean()), 4),
        "tissue_taken_for_pen": round(float(mask.is_pen[truth].mean()), 4),
        "seconds": round(seconds, 3),
    }


def synthetic(section: TissueSection) -> dict[str, float]:
    """Compare our mask with the exact truth of six synthetic slides, pen marks and all."""
    with tempfile.TemporaryDirectory() as name:
        cohort = synthesise_cohort(Path(name), slides=6, seed=0)
        slides = sorted(cohort.parent.glob("slides/*.svs"))
        scores = [_synthetic_iou(path, section) for path in slides]
    return {"least": round(min(scores), 4), "mean": round(float(np.mean(scores)), 4)}


def _synthetic_iou(path: Path, section: TissueSection) -> float:
    with open_slide(path) as slide:
        mask = survey_slide(slide, section).mask
        cell = mask.base_px_per_cell
    ids = np.asarray(Image.open(path.parents[1] / "masks" / f"{path.stem}.png"))
    rows, columns = mask.is_tissue.shape
    y = ((np.arange(rows) + 0.5) * cell / MASK_FACTOR).astype(int).clip(0, ids.shape[0] - 1)
    x = ((np.arange(columns) + 0.5) * cell / MASK_FACTOR).astype(int).clip(0, ids.shape[1] - 1)
    known = ~mask.is_pen
    return _iou(mask.is_tissue & known, (ids[np.ix_(y, x)] > 0) & known)


def pen(folder: Path, colour: str, section: TissueSection, out: Path | None) -> dict[str, Any]:
    """Say how much of a pen mark is kept out, and what the veto costs of everything else.

    The pictures state no resolution; each pixel is taken for a cell of the mask.
    """
    pixels = np.asarray(Image.open(folder / f"pen_{colour}.png").convert("RGB"))
    truth = np.asarray(Image.open(folder / f"pen_{colour}_mask.png")).astype(np.bool_)
    overview = Overview(pixels, np.zeros(truth.shape, np.bool_), 1.0)
    mask = tissue_of(overview, section.mpp, section)
    inkless = section.model_copy(update={"pen": section.pen.model_copy(update={"drop_um2": 1e12})})
    without = tissue_of(overview, section.mpp, inkless).is_tissue
    if out:
        _draw(out / f"tissue_pen_{colour}.png", pixels, mask, truth)
    return {
        "pen_kept_out": round(1 - float(mask.is_tissue[truth].mean()), 4),
        "pen_kept_out_without_veto": round(1 - float(without[truth].mean()), 4),
        "elsewhere_kept": round(float(mask.is_tissue[without & ~truth].mean()), 4),
    }


def otsu(values: NDArray[np.uint8]) -> int:
    """Return Otsu's threshold (1979): the level that parts the variance between classes most."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    levels = np.arange(256)
    below, above = counts.cumsum(), counts.sum() - counts.cumsum()
    total = (counts * levels).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = below * above * (total / below - (total[-1] - total) / above) ** 2
    return int(np.nanargmax(spread))


def _saturation(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).convert("HSV"))[..., 1]


def _truth(path: Path, overview: Overview, size: tuple[int, int]) -> Mask:
    """Read the 0/1 annotation on the overview's own cells: a cell is tissue if half of it is."""
    cell = overview.base_px_per_cell
    rows, columns = overview.is_unreadable.shape
    values = np.pad(_plane(path, size), ((0, 1), (0, 1)))
    table = np.pad(values.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    y = np.minimum((np.arange(rows + 1) * cell).round().astype(int), table.shape[0] - 1)
    x = np.minimum((np.arange(columns + 1) * cell).round().astype(int), table.shape[1] - 1)
    corners = table[np.ix_(y, x)]
    inside = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    return inside >= 0.5 * cell**2


def _plane(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read the annotation on every base pixel of the slide."""
    annotations = read_annotations(path, slide_size=size, labels=_LABELS)
    width, height = size
    whole = Region(0, 0, width, height)
    return annotations.mask(whole, width_px=width, height_px=height, other=0)


def _iou(found: Mask, truth: Mask) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def _timed(work: Callable[[], TissueMask], repeats: int) -> tuple[float, TissueMask]:
    """Return the fastest of some runs, and the last result."""
    best, result = np.inf, None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    assert result is not None
    return best, result


def _draw(path: Path, pixels: NDArray[np.uint8], mask: TissueMask, truth: Mask) -> None:
    """Write picture and overlay: agreed green, ours alone red, truth alone blue, pen yellow."""
    over = pixels.copy()
    found = mask.is_tissue
    layers = {
        (0, 200, 80): found & truth,
        (230, 0, 0): found & ~truth,
        (0, 60, 255): truth & ~found,
        (255, 214, 0): mask.is_pen,
    }
    for colour, where in layers.items():
        over[where] = over[where] // 2 + np.array(colour, np.uint8) // 2
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack([pixels, over])).save(path)


if __name__ == "__main__":
    main()
