"""Every kind that says a class of each pixel, through the whole main job and onto a slide."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsi_vit import pipeline
from wsi_vit.pipeline import RunOutcome
from wsi_vit.recipe import load_recipe
from wsi_vit.settings import Settings
from wsi_vit.store import verify_folder

RECIPE = """
labels:
  background: glass
  classes:
    - {name: glass, colour: "#000000"}
    - {name: tissue, source: [tumour, normal, stroma, mucus], colour: "#d55e00"}
source:
  kind: cohort
  tiles: {grid: {tile_px: 64, mpp: 2.0, min_tissue: 0.2}}
  labelling: {outside: background}
split: {kind: patients, validation: 0.25, test: 0.25}
model: {kind: KIND, start: {kind: config, options: OPTIONS}, input_px: 64}
augmentation: {preset: none}
training: {epochs: 8, batch_size: 8, learning_rate: 3.0e-3, workers: 0}
evaluation: {resamples: 100}
prediction: {overlap: 0.25}
"""
OPTIONS = {
    "unet": "{features: [8, 8, 16, 16, 32, 8]}",
    "segformer": "{hidden_sizes: [16, 16, 32, 32], depths: [1, 1, 1, 1], "
    "num_attention_heads: [1, 1, 2, 2], decoder_hidden_size: 32}",
    "segmenter": "{patch_px: 8, width: 32, depth: 2, heads: 2}",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(runs=tmp_path_factory.mktemp("dense") / "runs", workers=1, device="cpu")


@pytest.fixture(scope="module", params=OPTIONS)
def ran(
    request: pytest.FixtureRequest,
    good_cohort: Path,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunOutcome:
    """A run of one kind; tiles and dataset are made by the first."""
    kind = request.param
    path = tmp_path_factory.mktemp("recipes") / f"{kind}.yaml"
    path.write_text(RECIPE.replace("KIND", kind).replace("OPTIONS", OPTIONS[kind]))
    return pipeline.run_recipe(load_recipe(path).reading(good_cohort), settings=settings)


def test_it_learns_where_tissue_lies_and_leaves_a_whole_run(ran: RunOutcome) -> None:
    metrics = json.loads((ran.run / "metrics.json").read_text())

    found = {item["name"]: item["scores"][0] for item in metrics["classes"]}
    assert {score["name"] for score in found.values()} == {"iou"}
    assert found["glass"]["value"] > 0.4  # all tissue: 0; what is one colour is one class: 1
    assert found["tissue"]["value"] > 0.7
    assert ran.model.name == f"wsi-vit-{ran.run.parent.name}"
    assert verify_folder(ran.run)[1] == []
    assert "<img " in (ran.run / "report.html").read_text()


def test_it_draws_a_slide_it_has_not_seen(
    ran: RunOutcome, good_cohort: Path, settings: Settings, tmp_path: Path
) -> None:
    slide = good_cohort.parent / "slides" / "synthetic-004.svs"

    (found,) = pipeline.predict(str(ran.run), [slide], out=tmp_path, settings=settings)

    assert found.state == "predicted"
    assert 0 < found.shares["glass"] < found.shares["tissue"]  # only tissue is looked at
    assert found.overview
    with Image.open(found.overview) as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
