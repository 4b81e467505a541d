"""Outlines that somebody drew win over the tissue that is found."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.slides.making import stained, write_tiff
from wsi_vit.errors import Reason, SlideError, UsageError
from wsi_vit.pipeline.quality import SurveySection
from wsi_vit.pipeline.tissue_outlines import tissue_features, write_tissue
from wsi_vit.slides.quality.survey import survey_slide
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.slides.tissue.mask import TissueMask, TissueSection
from wsi_vit.slides.tissue.outlines import read_outlines
from wsi_vit.store import Artefact, Store

MPP, CELL = 4.0, 2
"""Base pixels of 4 µm, so cells of 8 µm are two wide."""
BLOB = (64, 64, 320, 256)


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "a.tif"
    return write_tiff(path, stained(400, 320, blob=BLOB), mpp=MPP)


def box(
    left: int, top: int, right: int, bottom: int, name: str | None = "Tissue"
) -> dict[str, Any]:
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    classified = {"classification": {"name": name}} if name else {}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", **classified},
    }


def written(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def tissue_of(slide_file: Path, outlines: Path | None = None) -> np.ndarray:
    with open_slide(slide_file) as slide:
        return survey_slide(slide, TissueSection(), tissue_mask=outlines).mask.is_tissue


def cells(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    area = np.zeros((320 // CELL, 400 // CELL), np.bool_)
    area[top // CELL : bottom // CELL, left // CELL : right // CELL] = True
    return area


@pytest.mark.parametrize("name", ["Tissue", "tissue", None])
def test_outlined_tissue_is_all_the_tissue_there_is(
    slide_file: Path, tmp_path: Path, name: str | None
) -> None:
    outlines = written(tmp_path / "o.geojson", box(100, 100, 200, 200, name), box(340, 0, 400, 40))

    found = tissue_of(slide_file, outlines)

    assert np.array_equal(found, cells(100, 100, 200, 200) | cells(340, 0, 400, 40))


def test_what_is_to_be_ignored_is_taken_out_of_what_was_found(
    slide_file: Path, tmp_path: Path
) -> None:
    outlines = written(tmp_path / "o.geojson", box(0, 0, 400, 160, "Ignore*"))

    found = tissue_of(slide_file, outlines)

    assert np.array_equal(found, tissue_of(slide_file) & ~cells(0, 0, 400, 160))
    assert found.any()


def test_what_is_to_be_ignored_wins_also_over_a_smaller_outline(
    slide_file: Path, tmp_path: Path
) -> None:
    features = box(20, 20, 300, 300, "ignore*"), box(100, 100, 120, 120), box(320, 0, 400, 80)

    found = tissue_of(slide_file, written(tmp_path / "o.geojson", *features))

    assert np.array_equal(found, cells(320, 0, 400, 80))


BAD = {
    "no json": "{",
    "no outline": '{"type": "FeatureCollection", "features": []}',
    "another slide's": json.dumps(box(5000, 5000, 6000, 6000)),
    "other classes": json.dumps(box(10, 10, 90, 90, "Tumor")),
    "not finite": json.dumps(box(10, 10, 90, 90)).replace("90", "NaN"),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_file_quarantines_the_slide(slide_file: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "o.geojson"
    path.write_text(text)

    with pytest.raises(SlideError, match="QuPath") as caught:
        read_outlines(path, (400, 320))

    assert caught.value.reason is Reason.BAD_TISSUE_MASK


def cut(slide_file: Path, root: Path, outlines: Path | None = None) -> Artefact:
    chosen = TilesSection.model_validate({"grid": {"tile_px": 32, "mpp": MPP}})
    given = SlideInput(slide_file, tissue_mask=outlines)
    return tile_slide(given, section=chosen, store=Store(root))


def test_changed_outlines_make_the_tiles_anew_and_the_same_ones_do_not(
    slide_file: Path, tmp_path: Path
) -> None:
    outlines, store = written(tmp_path / "o.geojson", box(0, 0, 64, 64)), tmp_path / "store"
    plain, first = cut(slide_file, store), cut(slide_file, store, outlines)
    again = cut(slide_file, store, written(tmp_path / "copy.geojson", box(0, 0, 64, 64)))
    changed = cut(slide_file, store, written(outlines, box(0, 0, 128, 64)))

    assert [made.facts["tiles"] for made in (plain, first, changed)] == [48, 4, 8]
    assert (again.reused, changed.reused, cut(slide_file, store).reused) == (True, False, True)
    assert first.facts["quality"]["tissue_from"] == "outlined"
    assert "tissue_mask" in first.manifest.shape.inputs
    assert plain.facts["quality"]["tissue_from"] == "found"


def test_outlines_that_are_not_there_quarantine_the_slide(slide_file: Path, tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="No such file") as caught:
        cut(slide_file, tmp_path / "store", tmp_path / "lost.geojson")

    assert caught.value.reason is Reason.BAD_TISSUE_MASK


def test_what_is_written_gives_the_same_mask_when_it_is_read(
    slide_file: Path, tmp_path: Path
) -> None:
    path = write_tissue(
        SlideInput(slide_file), section=SurveySection(), out=tmp_path / "a.tissue.geojson"
    )

    assert np.array_equal(tissue_of(slide_file, path), tissue_of(slide_file))
    with pytest.raises(UsageError, match="already"):
        write_tissue(SlideInput(slide_file), section=SurveySection(), out=path)


def test_holes_and_specks_come_back_cell_by_cell(tmp_path: Path) -> None:
    is_tissue = np.random.default_rng(3).random((24, 31)) < 0.6
    empty = np.zeros_like(is_tissue)
    mask = TissueMask(is_tissue, empty, empty, 3.7)
    plane = int(31 * 3.7) + 1, int(24 * 3.7) + 1
    path = written(tmp_path / "o.geojson", *tissue_features(mask, plane))

    again = read_outlines(path, plane).over(TissueMask(empty, empty, empty, 3.7))

    assert np.array_equal(again.is_tissue, is_tissue)
