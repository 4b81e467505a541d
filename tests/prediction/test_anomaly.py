"""A slide that is half unlike what a model learnt from, and what the prediction says of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet

from tests.prediction.colours import LABELS, painted, write_slide
from wsi_vit.errors import ModelError
from wsi_vit.models.anomaly.scorer import ANOMALY, Known, fit_scorer, save_scorer
from wsi_vit.models.anomaly.section import AnomalySection
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.pipeline.predicting import PredictionOptions, predict
from wsi_vit.prediction.applied import load_applied
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.slide import predict_slide
from wsi_vit.settings import Settings
from wsi_vit.slides.grid import GridSection
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection

TILE_PX = 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A saved model, with a score that knows tiles of the first colour alone."""
    torch.manual_seed(0)
    folder = tmp_path / "model"
    options = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16}
    section = VitSection(start=ConfigStart(options=options), input_px=TILE_PX)
    network: Any = build_model(section, LABELS, "classification").eval()
    network.save(folder)
    tiles = TilesSection(grid=GridSection(tile_px=TILE_PX, mpp=1.0))
    (folder / "tiles.json").write_text(tiles.model_dump_json())
    tiles = np.stack([slide_of(0, 0, side=TILE_PX, seed=seed) for seed in range(40)])
    known = Known(
        features=network.features(torch.from_numpy(tiles).permute(0, 3, 1, 2).contiguous()),
        classes=np.zeros(40, np.int64),
        patients=tuple(f"p{seed // 4}" for seed in range(40)),
    )
    save_scorer(fit_scorer(known, AnomalySection(score="knn", neighbours=3), seed=0), folder)
    return folder


def slide_of(left: int, right: int, *, side: int = 512, seed: int = 0) -> np.ndarray:
    """Paint noisy tissue of one class on the left and another on the right."""
    ids = np.full((side, side), left, np.uint8)
    ids[:, side // 2 :] = right
    grain = np.random.default_rng(seed).normal(0, 12, (side, side, 1))
    return np.clip(painted(ids) + grain, 0, 255).astype(np.uint8)


def test_tiles_and_slide_say_how_unlike_the_training_they_are(model: Path, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "half.tif", slide_of(0, 1))

    found = predict_slide(model, SlideInput(path, mpp=1.0), out=tmp_path / "out")

    table = parquet.read_table(found.folder / "tiles.parquet").to_pydict()
    facts = found.record.anomaly
    assert facts
    beyond = {x: score > facts.limit for x, score in zip(table["x"], table["anomaly"], strict=True)}
    assert all(is_beyond == (x >= 256) for x, is_beyond in beyond.items())
    assert (facts.share, facts.score, facts.usual_share) == (0.5, "knn", None)
    assert json.loads((found.folder / "prediction.json").read_text())["anomaly"]["share"] == 0.5
    assert found.artefact.manifest.facts["unlike_training"] == 0.5


def test_the_score_is_the_upright_views_where_scores_are_averaged(
    model: Path, tmp_path: Path
) -> None:
    slide = SlideInput(write_slide(tmp_path / "half.tif", slide_of(0, 1)), mpp=1.0)
    columns = [
        parquet.read_table(
            predict_slide(
                model, slide, out=tmp_path / "out", section=PredictionSection(average=average)
            ).folder
            / "tiles.parquet"
        )["anomaly"].to_pylist()
        for average in ("none", "symmetries")
    ]

    assert columns[0] == columns[1]


def test_a_model_without_a_score_says_nothing_and_names_its_results_apart(
    model: Path, tmp_path: Path
) -> None:
    slide = SlideInput(write_slide(tmp_path / "half.tif", slide_of(0, 1)), mpp=1.0)
    with_score = predict_slide(model, slide, out=tmp_path / "out")
    (model / ANOMALY).unlink()

    without = predict_slide(model, slide, out=tmp_path / "out")

    assert without.folder != with_score.folder
    assert without.record.anomaly is None
    assert "anomaly" not in parquet.read_table(without.folder / "tiles.parquet").column_names


def test_whoever_predicts_a_slide_is_told_in_the_row(model: Path, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "strange.tif", slide_of(2, 1))
    settings = Settings(runs=tmp_path / "runs")

    [outcome] = predict(
        str(model),
        [path],
        out=tmp_path / "out",
        options=PredictionOptions(mpp=1.0),
        settings=settings,
    )

    assert outcome.unlike_training == 1.0
    assert outcome.row()["classes"].endswith("; 100% unlike the training")


def test_a_damaged_score_stops_the_prediction(model: Path) -> None:
    text = (model / ANOMALY).read_bytes()
    (model / ANOMALY).write_bytes(text[:-4])

    with pytest.raises(ModelError, match="anomaly score"):
        load_applied(model)
