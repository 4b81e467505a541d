from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsi_vit.geometry import Region
from wsi_vit.slides.areas import boxes_of, share_of, sum_over
from wsi_vit.slides.overview import Overview
from wsi_vit.slides.quality.marks import find_marks, pen_colour, stain_of
from wsi_vit.slides.stain.separation import EOSIN, HAEMATOXYLIN
from wsi_vit.slides.tissue.glass import glass_colour
from wsi_vit.slides.tissue.mask import TissueMask, TissueSection, tissue_of

GLASS = np.full(3, 245, np.float32)


def stained(density: np.ndarray, side: int = 40) -> np.ndarray:
    """Return a picture of one optical density per colour."""
    light = (246 * 10 ** -np.asarray(density) - 1).round().clip(0, 255)
    return np.broadcast_to(light.astype(np.uint8), (side, side, 3)).copy()


def mask_of(pixels: np.ndarray, **parts: np.ndarray) -> TissueMask:
    shape = pixels.shape[:2]
    empty = {name: np.zeros(shape, np.bool_) for name in ("is_pen", "is_unreadable")}
    return TissueMask(
        **{"is_tissue": np.ones(shape, np.bool_), **empty, **parts}, base_px_per_cell=1
    )


@pytest.mark.parametrize("amounts", [(0.5, 0.2), (0.1, 0.4)])
def test_the_amounts_of_the_stains_are_told(amounts: tuple[float, float]) -> None:
    pixels = stained(amounts[0] * HAEMATOXYLIN + amounts[1] * EOSIN)

    found = stain_of(pixels, GLASS, np.ones(pixels.shape[:2], np.bool_))

    assert found is not None
    assert (found.haematoxylin, found.eosin) == pytest.approx(amounts, abs=0.01)
    assert found.sd_od == pytest.approx((0, 0, 0), abs=1e-6)


def test_without_tissue_there_is_no_stain() -> None:
    pixels = stained(np.zeros(3))

    assert stain_of(pixels, GLASS, np.zeros(pixels.shape[:2], np.bool_)) is None


@pytest.mark.parametrize(
    "colour, density",
    [("blue", (2.2, 0.7, 0.35)), ("red", (0.2, 1.2, 0.9)), ("green", (1.9, 0.6, 1.7)),
     ("black", (1.5, 1.5, 1.4))],
)  # fmt: skip
def test_ink_is_named_by_its_colour(colour: str, density: tuple[float, ...]) -> None:
    pixels = stained(np.array(density))
    everywhere = np.ones(pixels.shape[:2], np.bool_)

    assert pen_colour(pixels, GLASS, everywhere) == colour
    assert pen_colour(pixels, GLASS, ~everywhere) is None


def test_dense_tissue_is_no_fold_and_three_layers_are() -> None:
    tissue = 0.3 * HAEMATOXYLIN + 0.2 * EOSIN
    pixels = stained(tissue, 120)
    pixels[:20] = stained(1.6 * tissue, 120)[:20]
    pixels[60:80, 60:80] = stained(3 * tissue, 20)

    found = find_marks(pixels, GLASS, mask_of(pixels), 8.0).is_dark

    assert found[60:80, 60:80].all()
    assert found.sum() == 400


def test_specks_and_ink_are_no_folds() -> None:
    tissue = 0.3 * HAEMATOXYLIN + 0.2 * EOSIN
    pixels = stained(tissue, 120)
    pixels[10:14, 10:14] = pixels[60:90, 60:90] = stained(3 * tissue, 1)
    ink = np.zeros(pixels.shape[:2], np.bool_)
    ink[60:90, 60:90] = True

    assert not find_marks(pixels, GLASS, mask_of(pixels, is_pen=ink), 8.0).is_dark.any()


def test_sums_over_boxes_count_parts_of_cells() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    boxes = boxes_of([Region(0, 0, 8, 6), Region(1, 1, 2, 2), Region(6, 4, 99, 99)])

    assert sum_over(values, 2.0, boxes) == pytest.approx([66, (0 + 1 + 4 + 5) / 4, 11])
    assert share_of(values > 5, 2.0, boxes)[:2] == pytest.approx([0.5, 0.0])


@pytest.mark.real
@pytest.mark.parametrize("colour", ["green", "red"])
def test_real_ink_is_told_by_tile_and_by_colour(real_data: Path, colour: str) -> None:
    folder = real_data / "artefacts"
    pixels = np.asarray(Image.open(folder / f"pen_{colour}.png").convert("RGB"))
    truth = np.asarray(Image.open(folder / f"pen_{colour}_mask.png")).astype(np.bool_)
    overview = Overview(pixels, np.zeros(truth.shape, np.bool_), 1.0)
    mask = tissue_of(overview, 8.0, TissueSection())
    rows, columns = (side // 8 for side in truth.shape)
    boxes = boxes_of([Region(8 * x, 8 * y, 8, 8) for y in range(rows) for x in range(columns)])

    drawn, found = share_of(truth, 1.0, boxes), share_of(mask.is_pen, 1.0, boxes)
    inked = drawn > 0.9

    assert inked.sum() > 20
    assert (found[inked] > 0.5).mean() >= 0.95
    assert pen_colour(pixels, glass_colour(pixels), mask.is_pen) == colour
