"""Slides whose tiles show any number of labels, through the whole main job, for real and once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsi_vit import pipeline
from wsi_vit.cli import app
from wsi_vit.cohort import read_cohort
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.errors import RecipeError
from wsi_vit.evaluation.records import Evaluation, read_evaluation
from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.load import load_model
from wsi_vit.pipeline import PredictionOutcome, RunOutcome
from wsi_vit.pipeline.learning import THRESHOLDS
from wsi_vit.pipeline.run_folder import RunPlace
from wsi_vit.recipe import Recipe, load_recipe
from wsi_vit.settings import Settings

RECIPE = """
labels:
  classes:
    - {name: tumour, colour: "#d55e00"}
    - {name: normal, colour: "#009e73"}
    - {name: stroma, colour: "#cc79a7"}
    - {name: mucus, colour: "#56b4e9"}
source:
  kind: cohort
  tiles: {grid: {tile_px: 64, mpp: 1.0}}
  labelling: {least_share: 0.1, outside: background}
split: {kind: patients, validation: 0.25, test: 0.25}
model:
  kind: multi_label
  start: {kind: config, options: {patch_px: 8, width: 64, depth: 2, heads: 2}}
  input_px: 64
augmentation: {preset: none}
training: {epochs: 16, batch_size: 8, learning_rate: 2.0e-3, workers: 0}
evaluation: {resamples: 100}
"""
NAMES = ("tumour", "normal", "stroma", "mucus")


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny_labels.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry of its own: other tests count the models in theirs."""
    return Settings(runs=tmp_path_factory.mktemp("labels") / "runs", workers=1, device="cpu")


@pytest.fixture(scope="module")
def recipe(recipe_path: Path, good_cohort: Path) -> Recipe:
    return load_recipe(recipe_path).reading(good_cohort)


@pytest.fixture(scope="module")
def done(recipe: Recipe, settings: Settings) -> RunOutcome:
    return pipeline.run_recipe(recipe, settings=settings)


@pytest.fixture(scope="module")
def found(done: RunOutcome) -> Evaluation:
    return read_evaluation(done.run / "metrics.json")


@pytest.fixture(scope="module")
def predicted(
    done: RunOutcome,
    good_cohort: Path,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> PredictionOutcome:
    slide = read_cohort(good_cohort).rows[0].slide
    out = tmp_path_factory.mktemp("labelled slides")
    (outcome,) = pipeline.predict(str(done.run), [slide], out=out, settings=settings)
    return outcome


def test_tiles_show_no_label_one_or_several(done: RunOutcome) -> None:
    data = open_dataset(RunPlace(done.run).dataset)
    shown = data.examples("train").presence
    several = (shown == 1).sum(axis=1)

    assert not (shown == IGNORE_ID).any()  # the outlines are exhaustive
    assert {1, 2} <= set(several.tolist())
    assert data.table().features["labels"].feature.names == list(NAMES)


def test_it_ranks_better_than_chance_and_is_registered_by_its_mean_ap(
    done: RunOutcome, found: Evaluation
) -> None:
    chance = next(rule.value for rule in found.baselines if rule.name == "prevalence")

    assert found.headline.name == "mean_ap"
    assert found.headline.value and chance
    assert found.headline.value > chance + 0.2
    assert [row.name for row in found.classes] == list(NAMES)
    assert done.model.headline.startswith("mean_ap")
    assert done.model.decision == ("first" if found.beats_trivial else "refused")
    assert "told which labels a tile shows with a mean AP of" in done.sentence


def test_thresholds_are_tuned_noted_and_loaded_with_the_model(
    done: RunOutcome, found: Evaluation
) -> None:
    model: Any = load_model(done.run / "model")
    records = [r for r in RunPlace(done.run).journal.read() if r.kind == THRESHOLDS]
    (told,) = [record.payload for record in records]

    assert list(told) == list(NAMES)
    assert list(told.values()) == pytest.approx(model.thresholds, abs=1e-6)
    assert set(model.thresholds) != {0.5}
    judged = [row.score("threshold").value for row in found.classes]
    assert judged == pytest.approx(model.thresholds, abs=1e-6)


def test_the_report_shows_curves_and_examples_and_says_what_the_figure_means(
    done: RunOutcome,
) -> None:
    page = (done.run / "report.html").read_text()
    drawn = {path.name for path in (done.run / "figures").glob("*.png")}

    assert {"classes.png", "precision_recall.png", "roc.png", "found.png", "mistaken.png"} <= drawn
    assert "confusion.png" not in drawn
    assert "Average precision is how often" in page
    assert "By label" in page


def test_a_slide_gets_a_score_a_label_a_tile_and_no_class_map(predicted: PredictionOutcome) -> None:
    assert predicted.folder and predicted.record and predicted.overview
    table = pq.read_table(predicted.folder / "tiles.parquet").to_pylist()
    record = json.loads(predicted.record.read_text())

    assert predicted.class_map is None
    assert not (predicted.folder / "classes.ome.zarr").exists()
    assert record["map"]["ids"].startswith("no class map")
    limits = {item["name"]: item["threshold"] for item in record["classes"]}
    for row in table:
        called = [name for name in NAMES if row[f"score_{name}"] >= limits[name]]
        assert row["labels"] == called
    assert any(len(row["labels"]) > 1 for row in table)


def test_its_areas_are_those_of_the_tiles_that_show_a_label(predicted: PredictionOutcome) -> None:
    assert predicted.folder and predicted.record
    table = pq.read_table(predicted.folder / "tiles.parquet").to_pylist()
    record = json.loads(predicted.record.read_text())
    for item in record["classes"]:
        share = np.mean([item["name"] in row["labels"] for row in table])
        assert item["share"] == pytest.approx(share, abs=0.03)  # border tiles stick out
        assert item["area_mm2"] == pytest.approx(item["share"] * record["computed_mm2"], rel=1e-4)


def test_outlines_of_labels_may_lie_upon_each_other(predicted: PredictionOutcome) -> None:
    from shapely import unary_union
    from shapely.geometry import shape

    assert predicted.folder
    drawn = json.loads((predicted.folder / "annotations.geojson").read_text())["features"]
    areas = {
        name: unary_union(
            [
                shape(item["geometry"])
                for item in drawn
                if item["properties"]["classification"]["name"] == name
            ]
        )
        for name in NAMES
    }

    assert any(
        areas[one].intersection(areas[other]).area > 0
        for one in NAMES
        for other in NAMES
        if one < other
    )


def test_a_picture_is_told_its_labels_in_json_and_on_a_sheet(
    done: RunOutcome, settings: Settings, tmp_path: Path
) -> None:
    from wsi_vit.prediction.applied import load_applied
    from wsi_vit.prediction.scene import predict_images

    data = open_dataset(RunPlace(done.run).dataset)
    tile = data.examples("test").__getitems__([0])[0]
    Image.fromarray(tile.image).save(tmp_path / "tile.png")

    (outcome,) = predict_images(
        load_applied(done.run / "model"), [tmp_path / "tile.png"], out=tmp_path / "out"
    )

    assert outcome.record and outcome.overlay and outcome.class_map is None
    record = json.loads(outcome.record.read_text())
    called = [i["name"] for i in record["classes"] if i["score"] >= i["threshold"]]
    assert record["present"] == called == list(outcome.shares)
    assert record["ids"].startswith("no class map")
    assert outcome.overlay.is_file()


def test_a_label_is_explained_by_its_own_token(
    done: RunOutcome, settings: Settings, tmp_path: Path
) -> None:
    from wsi_vit.explanation.maps import Explainer
    from wsi_vit.explanation.section import ExplanationSection
    from wsi_vit.prediction.applied import load_applied

    data = open_dataset(RunPlace(done.run).dataset)
    images = [e.image for e in data.examples("test").__getitems__([0, 1])]
    applied = load_applied(done.run / "model")
    maps = [
        Explainer(applied, ExplanationSection(method="attention", class_name=name)).explain(images)
        for name in ("tumour", "mucus")
    ]

    assert maps[0].scores == pytest.approx(applied.scores(images), abs=1e-5)
    assert not np.allclose(maps[0].maps, maps[1].maps)


def test_a_background_class_is_refused_when_the_recipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "with_background.yaml"
    path.write_text(RECIPE.replace("labels:\n", "labels:\n  background: stroma\n", 1))
    with pytest.raises(RecipeError, match=r"labels\.background"):
        load_recipe(path)


def test_the_check_says_how_many_tiles_show_each_label(
    done: RunOutcome, recipe_path: Path, good_cohort: Path, settings: Settings, tmp_path: Path
) -> None:
    outcome = pipeline.check_recipe(
        load_recipe(recipe_path).reading(good_cohort), out=tmp_path, settings=settings
    )

    data = open_dataset(RunPlace(done.run).dataset)
    assert outcome.passed
    assert outcome.dataset
    amount = outcome.dataset.splits["train"].amount
    assert list(amount.values()) == (data.examples("train").presence == 1).sum(axis=0).tolist()
    assert [path.name for path in outcome.pictures] == ["samples.png"]


def test_the_plan_counts_its_parameters(
    recipe_path: Path, good_cohort: Path, as_environment: None
) -> None:
    done = CliRunner().invoke(app, ["plan", str(recipe_path), "--cohort", str(good_cohort)])
    assert done.exit_code == 0, done.output
