"""From a saved model and a scanner's file to every result; and memory that does not grow."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.prediction.colours import LABELS, applied, checkerboard, painted, write_slide
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import ClassifierSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.prediction.canvas import plan_prediction
from wsi_vit.prediction.ome_zarr import ClassMap
from wsi_vit.prediction.painting import Painter
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.slide import predict_slide
from wsi_vit.slides.grid import GridSection
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.synthetic.cohort import synthesise_cohort
from wsi_vit.slides.synthetic.settings import SyntheticSection
from wsi_vit.slides.tiles import TilesSection


def save_classifier(folder: Path) -> Path:
    torch.manual_seed(0)
    options = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "patch_size": 16}
    start = ConfigStart(
        kind="config", options={**options, "num_attention_heads": 2, "intermediate_size": 16}
    )
    section = ClassifierSection(kind="classifier", start=start, input_px=32)
    build_model(section, LABELS, "classification").save(folder)
    tiles = TilesSection(grid=GridSection(tile_px=64, mpp=1.0))
    (folder / "tiles.json").write_text(tiles.model_dump_json())
    return folder


def test_a_saved_model_predicts_an_aperio_slide(tmp_path: Path) -> None:
    section = SyntheticSection(width_px=1024, height_px=1024, pen_share=0)
    synthesise_cohort(tmp_path / "cohort", slides=1, section=section)
    (path,) = (tmp_path / "cohort/slides").glob("*.svs")
    model = save_classifier(tmp_path / "model")
    seen: list[tuple[int, int]] = []
    found = predict_slide(
        model, path, out=tmp_path / "out", progress=lambda done, total: seen.append((done, total))
    )

    assert found.record.slide.vendor == "aperio"
    assert found.record.resolution.source == "vendor"
    assert found.record.resolution.slide_mpp == pytest.approx(0.5)
    assert found.record.tiles.predicted > 10
    assert found.record.computed_mm2 == pytest.approx(
        found.record.tiles.predicted * (64 / 1000) ** 2, rel=0.1
    )
    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))
    assert predict_slide(model, path, out=tmp_path / "out").reused


def peak_of_painting(folder: Path, ids: NDArray[np.uint8]) -> int:
    folder.mkdir()
    path = write_slide(folder / "slide.tif", painted(ids))
    section = PredictionSection(batch_size=4)
    model = applied()
    with open_slide(path, mpp=1.0) as slide:
        plan = plan_prediction(slide, model.tiling(), "segmentation", section)
        target = ClassMap(folder / "m.ome.zarr", plan.canvas, LABELS)
        target.create()
        tracemalloc.start()
        Painter(slide, plan, applied=model, target=target, section=section).paint()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_slides_height(tmp_path: Path) -> None:
    short = peak_of_painting(tmp_path / "short", checkerboard(700, 1100, cell=149, glass=100))
    tall = peak_of_painting(tmp_path / "tall", checkerboard(700, 5500, cell=149, glass=100))
    added_map = (len(LABELS) + 1) * 700 * 4400

    assert tall - short < 0.2 * added_map


@pytest.mark.real
def test_a_real_slide_is_predicted_in_place(real_data: Path, tmp_path: Path) -> None:
    (path,) = (real_data / "wsi-colon").glob("*half.tif")
    model = applied(tile_px=128, mpp=8.0)
    found = predict_slide(model, SlideInput(path, slide_id="colon", mpp=1.0), out=tmp_path)
    width, height = found.record.slide.width, found.record.slide.height

    assert found.record.map.step_base_px == pytest.approx(8.0)
    assert (found.record.map.width_px, found.record.map.height_px) == (
        -(-width // 8),
        -(-height // 8),
    )
    assert 0.02 < found.record.computed_mm2 / (width * height * 1e-6) < 0.9
    assert found.record.outlines > 0
