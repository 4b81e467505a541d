"""A saved model: loaded with the tiling it was trained with, named by its files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.prediction.colours import LABELS, applied, painted
from wsi_vit.errors import ModelError
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import ClassifierSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.prediction.applied import load_applied, model_digest
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.slides.grid import GridSection
from wsi_vit.slides.tiles import TilesSection

TILES = TilesSection(grid=GridSection(tile_px=64, mpp=2.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    options = {
        "model_type": "vit",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "patch_size": 16,
    }
    start = ConfigStart(kind="config", options=options)
    model = build_model(
        ClassifierSection(kind="classifier", start=start, input_px=32), LABELS, "classification"
    )
    model.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_brings_its_tiling_along(folder: Path) -> None:
    assert load_applied(folder).tiles is None
    (folder / "tiles.json").write_text(TILES.model_dump_json())
    model = load_applied(folder)

    assert model.tiling() == TILES
    assert model.model.labels == LABELS
    assert not model.model.training


def test_scores_come_in_the_order_of_the_pictures(folder: Path) -> None:
    model = load_applied(folder)
    images = list(np.random.default_rng(0).integers(0, 256, (3, 50, 40, 3), np.uint8))
    scores = model.scores(images)

    assert scores.shape == (3, 3)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(model.scores(images[::-1])[::-1], scores, atol=1e-6)


def test_the_digest_changes_with_any_file_that_counts(folder: Path) -> None:
    first = model_digest(folder)
    (folder / "card.md").write_text("words")
    assert model_digest(folder) == first
    path = folder / "preprocessing.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mean": [0.1, 0.2, 0.3]}))

    assert model_digest(folder) != first


def test_a_tiling_of_another_version_is_refused(folder: Path) -> None:
    (folder / "tiles.json").write_text(json.dumps({"grid": {"tile_px": 64}}))
    with pytest.raises(ModelError, match="tiling"):
        load_applied(folder)


def test_a_model_brings_along_how_it_is_applied(folder: Path) -> None:
    assert load_applied(folder).section == PredictionSection()
    asked = PredictionSection(overlap=0.5, average="flips")
    (folder / "prediction.json").write_text(asked.model_dump_json())

    assert load_applied(folder).section == asked


def test_settings_of_another_version_are_refused_and_the_fault_is_named(folder: Path) -> None:
    (folder / "prediction.json").write_text(json.dumps({"average": "twirls"}))
    with pytest.raises(ModelError, match=r"prediction\.json .*average"):
        load_applied(folder)


def test_the_class_of_a_pixel_is_the_one_with_the_best_score() -> None:
    model = applied()
    images = [painted(np.arange(12, dtype=np.uint8).reshape(3, 4) % 3)] * 2
    ids = model.class_ids(images)

    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, model.scores(images).argmax(1))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        model_digest(tmp_path)
