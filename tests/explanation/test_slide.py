"""A slide explained: what was looked at comes back in its place."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.explanation.blobs import GRID, LABELS, applied
from tests.prediction.colours import PAINT, checkerboard, coverage, painted, write_slide
from wsi_vit.errors import ModelError, Reason, SlideError
from wsi_vit.explanation.maps import Explained, Explainer
from wsi_vit.explanation.section import ExplanationSection, FaithfulnessSection
from wsi_vit.explanation.slide import explain_slide
from wsi_vit.explanation.slide_sheet import coarser
from wsi_vit.prediction.applied import AppliedModel
from wsi_vit.slides.grid import GridSection
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection

WIDTH, HEIGHT, MPP, TILE_PX = 1733, 1219, 0.5, 48
TRUTH = checkerboard(WIDTH, HEIGHT, cell=149, glass=160)
CELL = TILE_PX / GRID / MPP
"""Base pixels a side of a cell."""


def slide_model() -> AppliedModel:
    tiles = TilesSection(grid=GridSection(tile_px=TILE_PX, mpp=1.0))
    return replace(applied(), tiles=tiles)


class ByColour(Explainer):
    """Looks at nothing but the first paint, and says class 0 of every tile."""

    def explain(self, images: Sequence[NDArray[np.uint8]]) -> Explained:
        stacked = np.stack(images).astype(float)
        is_first = np.abs(stacked - PAINT[0]).sum(-1) < 30
        cells = is_first.reshape(len(images), GRID, TILE_PX // GRID, GRID, -1)
        maps = cells.mean((2, 4))[:, None].astype(np.float32)
        scores = np.tile(np.array([0.8, 0.2, 0.0], np.float32), (len(images), 1))
        return Explained(maps, scores, np.zeros(len(images), np.int64))


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> SlideInput:
    path = write_slide(tmp_path_factory.mktemp("slides") / "board.tif", painted(TRUTH))
    return SlideInput(path, slide_id="board", mpp=MPP)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_what_was_looked_at_lies_where_it_is(
    slide: SlideInput, tmp_path: Path, overlap: float
) -> None:
    explainer = ByColour(slide_model(), ExplanationSection(overlap=overlap))
    found = explain_slide(explainer, slide, out=tmp_path)
    values = np.load(found.map)
    share = coverage(TRUTH, 0, CELL)

    assert values.shape == share.shape == (found.record.map.rows, found.record.map.columns)
    known = np.isfinite(values)
    assert known[40:, 40:].mean() > 0.95
    assert (values[known & (share > 0.999)] > 0.7).all()
    assert (values[known & (share < 0.001)] == 0).all()
    assert np.isnan(values[:6]).all()  # glass: 10 cells, but a tile may be half glass


def test_the_record_says_how_to_read_the_map(slide: SlideInput, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    test = FaithfulnessSection(steps=4, random_maps=2, images=3)
    explainer = Explainer(slide_model(), ExplanationSection(faithfulness=test))
    found = explain_slide(explainer, slide, out=tmp_path, progress=lambda *step: told.append(step))
    record = json.loads((found.folder / "explanation.json").read_text())

    assert record["map"]["step_base_px"] == CELL
    assert record["map"]["pixel_um"] == CELL * MPP
    assert record["map"]["cells"] == GRID
    assert record["explained_class"] == "each tile's own"
    assert record["faithfulness"]["pictures"] == 3
    assert record["slide"]["slide_id"] == "board"
    assert [item["name"] for item in record["classes"]] == list(LABELS.names)
    assert told[record["tiles"] - 1] == ("explaining", record["tiles"], record["tiles"])
    assert told[-1] == ("testing", 3, 3)
    with Image.open(found.figure) as figure:
        assert figure.width > 1000
    assert explain_slide(explainer, slide, out=tmp_path).reused


def test_a_map_finer_than_the_figure_is_averaged_into_it() -> None:
    values = np.array([[1, 3, np.nan], [5, np.nan, np.nan], [2, 4, 7]], np.float32)

    np.testing.assert_array_equal(coarser(values, 2), [[3, np.nan], [3, 7]])
    np.testing.assert_array_equal(coarser(values, 1), values)


def test_memory_decides_no_value(slide: SlideInput, tmp_path: Path) -> None:
    one, other = (
        np.load(
            explain_slide(
                Explainer(slide_model(), ExplanationSection(batch_size=size)),
                slide,
                out=tmp_path / str(size),
            ).map
        )
        for size in (1, 16)
    )

    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_slide_without_tissue_is_quarantined_and_leaves_nothing(tmp_path: Path) -> None:
    empty = write_slide(tmp_path / "empty.tif", np.full((600, 800, 3), 243, np.uint8))
    explainer = Explainer(slide_model(), ExplanationSection())
    with pytest.raises(SlideError) as caught:
        explain_slide(explainer, SlideInput(empty, mpp=MPP), out=tmp_path / "out")

    assert caught.value.reason is Reason.NO_TISSUE
    assert not list((tmp_path / "out").rglob("*.npy"))


def test_a_model_of_pictures_explains_no_slide(slide: SlideInput, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="at which resolution it sees a slide"):
        explain_slide(Explainer(applied(), ExplanationSection()), slide, out=tmp_path)
