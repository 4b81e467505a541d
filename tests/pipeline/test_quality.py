"""A cohort's quality: the table, the contact sheet, and what is to be looked at first."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.test_verbs import called, told
from tests.slides.making import stained, write_tiff
from tests.slides.quality.making import troubled_slide
from wsi_vit import console
from wsi_vit.errors import Reason
from wsi_vit.pipeline import contact_sheet
from wsi_vit.pipeline.outcomes import SlideOutcome
from wsi_vit.pipeline.quality import (
    QualityReport,
    SlideVerdict,
    SurveySection,
    check_quality,
    tiled_quality,
    write_quality,
)
from wsi_vit.recipe import load_recipe
from wsi_vit.settings import Settings
from wsi_vit.slides.quality.card import COLOURS, swatch
from wsi_vit.slides.quality.marks import StainFacts
from wsi_vit.slides.quality.report import SlideQuality
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Store


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a sound slide, one with ink, blur and a fold, and a file that is no slide."""
    folder = tmp_path_factory.mktemp("slides")
    write_tiff(folder / "a.tif", stained(400, 320, blob=(40, 40, 320, 280)), mpp=4.0)
    troubled_slide(folder / "b.tif")
    (folder / "c.tif").write_bytes(b"no slide")
    return folder


@pytest.fixture(scope="module")
def report(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> QualityReport:
    return check_quality([slides], section=SurveySection(), out=tmp_path_factory.mktemp("out"))


def quality(slide_id: str = "s", **changes: Any) -> SlideQuality:
    stain = StainFacts(mean_od=(0.1, 0.2, 0.1), sd_od=(0, 0, 0), haematoxylin=0.2, eosin=0.2)
    values: dict[str, Any] = {
        "slide_id": slide_id, "tissue_mm2": 20.0, "tissue_share": 0.4, "tissue_from": "found",
        "blur": 0.2, "blur_share": 0.0, "blur_mpp": 4.0, "dark_share": 0.0, "pen_mm2": 0.0,
        "pen_share": 0.0, "pen_colour": None, "unreadable_share": 0.0, "stain": stain,
        "mpp": 0.25, "mpp_source": "vendor", "reader": "openslide",
    }  # fmt: skip
    return SlideQuality.model_validate(values | changes)


def verdict(found: SlideQuality) -> SlideVerdict:
    return SlideVerdict(slide_id=found.slide_id, quality=found, suspicions=found.suspicions)


def test_what_cannot_be_used_comes_first_then_what_is_suspected(report: QualityReport) -> None:
    assert [slide.slide_id for slide in report.slides] == ["c", "b", "a"]
    assert report.lost == ["c"]
    assert report.slides[1].suspicions == (
        "green ink on 0.033 mm²",
        "50% of the tissue out of focus",
        "2% of the tissue folded or very dense",
    )
    assert report.slides[2].suspicions == ()


def test_the_table_has_a_row_a_slide_with_every_figure(report: QualityReport) -> None:
    with report.table.open(newline="") as stream:
        lost, marked, sound = csv.DictReader(stream)

    assert (lost["reason"], lost["tissue_mm2"]) == ("not_a_slide", "")
    assert (marked["pen_colour"], marked["reader"]) == ("green", "openslide")
    assert float(sound["tissue_mm2"]) == pytest.approx(280 * 240 * 16e-6, rel=0.05)
    assert {"haematoxylin", "od_red_sd", "mpp_source", "blur_mpp"} <= set(sound)


def test_the_sheet_shows_every_slide_and_says_why(report: QualityReport) -> None:
    (sheet,) = report.sheets
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture.convert("RGB"))

    for colour in (*COLOURS.values(), "#b3400a"):
        assert (pixels == list(bytes.fromhex(colour[1:]))).all(axis=-1).any(), colour


def test_a_large_cohort_takes_several_pages_and_old_pages_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "_DOWN", 1)
    many = [verdict(quality(f"s{number}")) for number in range(9)]

    assert len(write_quality(many, tmp_path, title="Quality").sheets) == 3
    write_quality(many[:3], tmp_path, title="Quality")
    assert [path.name for path in tmp_path.glob("*.png")] == ["contact-sheet-01.png"]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"tissue_mm2": 0.01}, "hardly any tissue"),
        ({"pen_mm2": 3.0, "pen_colour": "red"}, "red ink on 3 mm²"),
        ({"blur_share": 0.4}, "40% of the tissue out of focus"),
        ({"blur_share": None}, None),
        ({"dark_share": 0.05}, "5% of the tissue folded"),
        ({"unreadable_share": 0.02}, "2.0% of the slide cannot be read"),
        ({"stain": None}, None),
    ],
)
def test_a_suspicion_says_what_and_how_much(changes: dict[str, Any], words: str | None) -> None:
    found = quality(**changes).suspicions

    assert [words in text for text in found] == [True] if words else found == ()


def test_a_stain_unlike_the_others_is_suspected(tmp_path: Path) -> None:
    strong = StainFacts(mean_od=(0.1, 0.2, 0.1), sd_od=(0, 0, 0), haematoxylin=0.9, eosin=0.2)
    many = [verdict(quality(f"s{number}")) for number in range(9)]
    odd = verdict(quality("odd", stain=strong))

    report = write_quality([*many, odd], tmp_path, title="Quality")

    assert report.slides[0].slide_id == "odd"
    assert report.slides[0].suspicions == ("haematoxylin 0.90, the others 0.20",)
    assert not any(slide.suspicions for slide in report.slides[1:])


def test_marks_are_told_apart_without_their_colours() -> None:
    drawn = [np.asarray(Image.fromarray(swatch(mark, width_px=40, height_px=24)).convert("L")) < 250
             for mark in COLOURS]  # fmt: skip

    assert all((one != other).mean() > 0.1 for one in drawn for other in drawn if one is not other)


def test_the_verbs_survey_and_outline(slides: Path, tmp_path: Path) -> None:
    found = told("slides", "quality", slides, "--out", tmp_path / "q", code=console.QUARANTINED)
    said = called("slides", "tissue", slides / "a.tif", "--out", tmp_path / "a.tissue.geojson")

    assert [slide["slide_id"] for slide in found["slides"]] == ["c", "b", "a"]
    assert Path(found["table"]).is_file()
    assert (tmp_path / "a.tissue.geojson").is_file()
    assert "a.tissue.geojson" in said.replace("\n", "")


def test_tiling_leaves_the_same_report_without_opening_a_slide(
    slides: Path, tmp_path: Path
) -> None:
    section = TilesSection.model_validate({"grid": {"tile_px": 128, "mpp": 4.0}})
    made = [
        tile_slide(SlideInput(slides / name), section=section, store=Store(tmp_path / "store"))
        for name in ("a.tif", "b.tif")
    ]
    outcomes = [
        SlideOutcome(slide_id=item.facts["slide_id"], state="tiled", tiles_folder=item.folder)
        for item in made
    ]
    lost = SlideOutcome(slide_id="z", state="quarantined", reason=Reason.MISSING, message="gone")

    report = tiled_quality(
        load_recipe("demo_segmentation"), [*outcomes, lost], settings=Settings(runs=tmp_path)
    )

    assert [slide.slide_id for slide in report.slides] == ["z", "b", "a"]
    assert report.table == tmp_path / "quality/demo_segmentation/quality.csv"
    assert "copied" in report.table.read_text() or "decoded" in report.table.read_text()
    assert [path.name for path in report.sheets] == ["contact-sheet-01.png"]
