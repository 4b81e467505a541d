from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from benchmarks.tissue import colon, otsu, pen
from tests.slides.making import stained, write_tiff, zero_tile
from wsi_vit.geometry import Region
from wsi_vit.slides.overview import Overview, read_overview
from wsi_vit.slides.quality.survey import survey_slide
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.tissue.glass import densities, glass_colour
from wsi_vit.slides.tissue.mask import TissueMask, TissueSection, tissue_of
from wsi_vit.slides.tissue.regions import drop_islands, fill_holes


def mask_of(pixels: np.ndarray, section: TissueSection | None = None) -> TissueMask:
    """Find the tissue on a picture that is already at 8 µm/px."""
    overview = Overview(pixels, np.zeros(pixels.shape[:2], np.bool_), 1.0)
    return tissue_of(overview, 8.0, section or TissueSection())


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def box(shape: tuple[int, int], left: int, top: int, right: int, bottom: int) -> np.ndarray:
    truth = np.zeros(shape, np.bool_)
    truth[top:bottom, left:right] = True
    return truth


def test_a_stained_patch_is_found_where_it_lies() -> None:
    pixels = stained(200, 160, blob=(40, 30, 120, 110))

    assert iou(mask_of(pixels).is_tissue, box((160, 200), 40, 30, 120, 110)) > 0.93


@pytest.mark.parametrize("light", [(1.0, 1.0, 1.0), (1.0, 0.97, 0.9), (0.85, 0.85, 0.85)])
def test_the_colour_of_the_lamp_changes_nothing(light: tuple[float, float, float]) -> None:
    pixels = stained(200, 160, blob=(40, 30, 120, 110))
    lit = (pixels * np.array(light)).astype(np.uint8)

    assert iou(mask_of(lit).is_tissue, mask_of(pixels).is_tissue) > 0.98


def test_grey_dirt_and_empty_glass_are_no_tissue() -> None:
    pixels = stained(200, 160, blob=(0, 0, 0, 0))
    pixels[40:80, 40:80] = 150

    assert not mask_of(pixels).is_tissue.any()


def test_small_holes_are_filled_and_crumbs_removed() -> None:
    pixels = stained(200, 160, blob=(20, 20, 140, 140))
    pixels[60:70, 60:70] = 242
    pixels[5:10, 180:185] = (180, 110, 170)
    found = mask_of(pixels).is_tissue

    assert found[60:70, 60:70].all()
    assert not found[:, 160:].any()


def test_a_hole_at_the_border_is_no_hole() -> None:
    mask = np.ones((9, 9), np.bool_)
    mask[0, 4] = mask[4, 4] = False

    filled = fill_holes(mask, 5)

    assert filled[4, 4]
    assert not filled[0, 4]
    assert not drop_islands(~filled, 1).any()


@pytest.mark.parametrize(
    "ink", [(20, 140, 120), (30, 60, 180), (210, 40, 70), (25, 25, 28)],
    ids=["green", "blue", "red", "black"],
)  # fmt: skip
def test_ink_of_every_colour_is_kept_out_and_tissue_beside_it_is_not(
    ink: tuple[int, int, int],
) -> None:
    pixels = stained(300, 200, blob=(120, 30, 280, 170))
    pixels[20:180, 40:60] = ink
    mask = mask_of(pixels)

    assert mask.is_pen[20:180, 40:60].all()
    assert not mask.is_tissue[20:180, 40:60].any()
    assert mask.is_tissue[40:160, 130:270].all()


def test_a_slide_without_glass_is_all_tissue() -> None:
    pixels = stained(100, 100, blob=(0, 0, 100, 100))

    assert glass_colour(pixels).tolist() == [245, 245, 245]
    assert mask_of(pixels).is_tissue.all()


def test_density_is_ten_to_the_minus_of_what_passes() -> None:
    found = densities(np.array([[[24, 99, 255]]], np.uint8), np.full(3, 249, np.float32))

    assert found[0, 0].tolist() == pytest.approx([1.0, np.log10(2.5), 0.0], abs=1e-6)


def test_strips_of_a_tall_picture_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = stained(60, 300, blob=(10, 20, 50, 280))
    whole = mask_of(pixels).is_tissue
    monkeypatch.setattr("wsi_vit.slides.tissue.mask._STRIP_ROWS", 37)

    assert np.array_equal(mask_of(pixels).is_tissue, whole)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 50),
    x=st.integers(-8, 60), y=st.integers(-8, 60),
    width=st.integers(1, 30), height=st.integers(1, 30),
)  # fmt: skip
def test_coverage_is_the_share_of_base_pixels_counted_one_by_one(
    seed: int, x: int, y: int, width: int, height: int
) -> None:
    cells = np.random.default_rng(seed).random((9, 11)) < 0.5
    nothing = np.zeros_like(cells)
    mask = TissueMask(cells, nothing, nothing, 5.0)
    plane = np.pad(np.kron(cells, np.ones((5, 5))), 100)

    expected = plane[100 + y : 100 + y + height, 100 + x : 100 + x + width].mean()

    assert mask.coverage([Region(x, y, width, height)])[0] == pytest.approx(expected)


def test_an_unreadable_tile_is_marked_and_is_no_tissue(tmp_path: Path) -> None:
    pixels = stained(512, 512, blob=(0, 0, 400, 400))
    path = zero_tile(write_tiff(tmp_path / "a.tif", pixels, mpp=4.0, compression="jpeg"), 0)

    with open_slide(path) as slide:
        mask = survey_slide(slide, TissueSection()).mask
        again = read_overview(slide, 8.0)

    assert mask.is_unreadable[:31, :31].all()
    assert mask.is_unreadable.sum() < 50**2
    assert not mask.is_tissue[mask.is_unreadable].any()
    assert mask.is_tissue[60:190, 60:190].all()
    assert np.array_equal(again.is_unreadable, mask.is_unreadable)


def test_otsus_threshold_parts_two_heaps() -> None:
    values = np.array([10] * 50 + [12] * 50 + [200] * 30, np.uint8)

    assert 12 <= otsu(values) < 200


@pytest.mark.real
def test_the_mask_beats_plain_rules_on_the_real_colon_slide(real_data: Path) -> None:
    found = colon(real_data / "wsi-colon", TissueSection(), 1, None)["iou"]
    ours = found.pop("wsi_vit")

    assert ours > max(0.919, *found.values())


@pytest.mark.real
@pytest.mark.parametrize("colour", ["green", "red"])
def test_real_pen_marks_are_kept_out_and_most_of_the_rest_is_not(
    real_data: Path, colour: str
) -> None:
    found = pen(real_data / "artefacts", colour, TissueSection(), None)

    assert found["pen_kept_out"] >= 0.95
    assert found["elsewhere_kept"] >= 0.9


@pytest.mark.real
def test_stained_tiles_without_ink_hold_none(real_data: Path) -> None:
    paths = sorted((real_data / "kather2016-png100").glob("*.png"))[:60]
    shares = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        small = np.asarray(image.resize((28, 28), Image.Resampling.BOX))
        shares.append(mask_of(np.tile(small, (4, 4, 1))).is_pen.mean())

    assert np.mean(shares) < 0.1


@pytest.mark.parametrize("smooth_um", [0.4, 6.0, 12.0, 30.0])
def test_tissue_has_the_saturation_and_density_of_planes_smoothed_by_scipy(
    smooth_um: float,
) -> None:
    pixels = np.random.default_rng(1).integers(215, 250, (300, 90, 3), np.uint8)
    light = np.minimum(pixels / glass_colour(pixels), 1.0)
    sigma = (smooth_um / 8, smooth_um / 8, 0)
    smooth = np.maximum(ndimage.gaussian_filter(light, sigma, mode="nearest"), 1 / 255)
    saturation = 1 - smooth.min(axis=2) / smooth.max(axis=2)
    density = -np.log10(smooth).mean(axis=2)
    least = {"min_saturation": np.median(saturation), "min_density": np.quantile(density, 0.2)}
    section = TissueSection(smooth_um=smooth_um, fill_um2=0, drop_um2=0, **least)
    expected = (saturation >= section.min_saturation) & (density >= section.min_density)

    found = mask_of(pixels, section)

    assert not found.is_pen.any()
    assert (found.is_tissue != expected).sum() <= 2  # of 27,000; rounding may move one
