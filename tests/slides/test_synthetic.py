"""A synthetic cohort: what OpenSlide sees, what the truth says, and that it never changes."""

import csv
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely
from PIL import Image
from pydantic import ValidationError

from wsi_vit.geometry import Region
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.slides.annotations import read_annotations
from wsi_vit.slides.synthetic import CLASSES, SyntheticSection, synthesise_cohort
from wsi_vit.slides.synthetic.aperio import shrink
from wsi_vit.slides.synthetic.layout import lay_out
from wsi_vit.store import file_digest

SMALL = SyntheticSection(width_px=1536, height_px=1024, pen_share=0.5, sites=2)
LABELS = LabelMap(
    classes=tuple(
        LabelClass(name=name, source=(name, index), colour="#d55e00")
        for index, name in enumerate(CLASSES, start=1)
    )
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise_cohort(tmp_path_factory.mktemp("a"), slides=3, seed=3, section=SMALL)


def rows_of(cohort: Path) -> list[dict[str, str]]:
    with cohort.open(newline="") as stream:
        return list(csv.DictReader(stream))


def mask_of(cohort: Path, slide_id: str) -> np.ndarray:
    return np.asarray(Image.open(cohort.parent / "masks" / f"{slide_id}.png"))


def test_the_table_names_files_that_are_there_by_relative_paths(cohort: Path) -> None:
    for row in rows_of(cohort):
        assert not Path(row["slide"]).is_absolute()
        assert (cohort.parent / row["slide"]).is_file()
        assert (cohort.parent / row["annotations"]).is_file()
        assert row["mpp"] == "0.5"


def test_openslide_opens_a_slide_as_an_aperio_pyramid(cohort: Path) -> None:
    with openslide.OpenSlide(cohort.parent / "slides/synthetic-001.svs") as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert slide.properties["openslide.objective-power"] == "20"
        assert slide.level_dimensions == ((1536, 1024), (384, 256), (96, 64))
        assert list(slide.associated_images) == ["thumbnail"]


def test_levels_show_the_same_picture(cohort: Path) -> None:
    with openslide.OpenSlide(cohort.parent / "slides/synthetic-001.svs") as slide:
        base = np.asarray(slide.read_region((0, 0), 0, (1536, 1024)).convert("RGB"))
        level = np.asarray(slide.read_region((0, 0), 1, (384, 256)).convert("RGB"))
    away = np.abs(shrink(base).astype(int) - level).mean()
    shifted = np.abs(shrink(base)[:, 1:].astype(int) - level[:, :-1]).mean()
    assert away < 5 < 2 * away < shifted


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    cohort: Path, tmp_path: Path
) -> None:
    again = synthesise_cohort(tmp_path / "b", slides=1, seed=3, section=SMALL)
    other = synthesise_cohort(tmp_path / "c", slides=1, seed=4, section=SMALL)
    for name in ("slides/synthetic-001.svs", "annotations/synthetic-001.geojson"):
        assert file_digest(again.parent / name) == file_digest(cohort.parent / name)
        assert file_digest(other.parent / name) != file_digest(cohort.parent / name)


def test_outlines_and_mask_agree_on_every_pixel(cohort: Path) -> None:
    for row in rows_of(cohort):
        outlines = read_annotations(
            cohort.parent / row["annotations"], slide_size=(1536, 1024), labels=LABELS
        )
        mask = mask_of(cohort, row["slide_id"])
        drawn = outlines.mask(Region(0, 0, 1536, 1024), width_px=384, height_px=256, other=255)
        assert outlines.notes == ()
        np.testing.assert_array_equal(drawn, LABELS.narrow(mask, other=255))


def test_outlines_and_mask_agree_on_shares_that_cut_through_mask_pixels(cohort: Path) -> None:
    regions = [Region(x, y, 97.3, 97.3) for x in range(0, 1400, 131) for y in range(0, 900, 117)]
    files = ("annotations/synthetic-002.geojson", "masks/synthetic-002.png")
    outlines, mask = (
        read_annotations(cohort.parent / name, slide_size=(1536, 1024), labels=LABELS)
        for name in files
    )
    np.testing.assert_allclose(outlines.coverage(regions), mask.coverage(regions), atol=1e-9)


def test_outlines_are_valid_do_not_overlap_and_use_holes(cohort: Path) -> None:
    features = json.loads((cohort.parent / "annotations/synthetic-001.geojson").read_text())
    polygons = [shapely.geometry.shape(item["geometry"]) for item in features["features"]]
    names = {item["properties"]["classification"]["name"] for item in features["features"]}
    assert names == set(CLASSES)
    assert all(polygon.is_valid for polygon in polygons)
    assert all(a.intersection(b).area == 0 for a, b in combinations(polygons, 2))
    assert any(len(polygon.interiors) for polygon in polygons)


def test_glass_is_bright_and_tissue_is_stained(cohort: Path) -> None:
    with openslide.OpenSlide(cohort.parent / "slides/synthetic-001.svs") as slide:
        level = np.asarray(slide.read_region((0, 0), 1, (384, 256)).convert("RGB")).astype(int)
    mask = mask_of(cohort, "synthetic-001")
    assert np.median(level[mask == 0]) > 225
    stain = level.max(axis=2) - level.min(axis=2)
    assert np.median(stain[mask > 0]) > 20 > 10 > np.median(stain[mask == 0])


@pytest.mark.parametrize("seed", range(6))
def test_every_class_is_large_enough_for_whole_tiles(seed: int) -> None:
    ids = lay_out(np.random.default_rng(seed), SyntheticSection()).ids
    shares = np.bincount(ids.ravel(), minlength=5)[1:] / (ids > 0).sum()
    assert ids.shape == (768, 1024)
    assert (shares > [0.15, 0.12, 0.14, 0.05]).all()
    assert ids.max() == 4


def test_a_patient_has_one_site_and_the_slides_asked_for(cohort: Path) -> None:
    rows = rows_of(cohort)
    assert [row["patient"] for row in rows] == ["patient-001", "patient-001", "patient-002"]
    assert [row["site"] for row in rows] == ["site-1", "site-1", "site-2"]


def test_only_the_share_of_slides_that_was_asked_for_has_pen(cohort: Path) -> None:
    def coloured(slide_id: str) -> float:
        with openslide.OpenSlide(cohort.parent / f"slides/{slide_id}.svs") as slide:
            level = np.asarray(slide.read_region((0, 0), 1, (384, 256)).convert("RGB"))
        glass = level[mask_of(cohort, slide_id) == 0].astype(int)
        return float(((glass.max(axis=1) - glass.min(axis=1)) > 60).mean())

    assert coloured("synthetic-001") < 0.01 < 0.03 < coloured("synthetic-002")


def test_sizes_that_do_not_divide_into_mask_and_levels_are_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 16"):
        SyntheticSection(width_px=4100)
