"""Slides without labels become weights that a classifier begins from, for real and once."""

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsi_vit import pipeline
from wsi_vit.cli import app
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.datasets.sources import FolderSource
from wsi_vit.errors import ModelError, RecipeError, RegistryError
from wsi_vit.evaluation.pretraining.records import read_pretraining
from wsi_vit.models.load import load_model
from wsi_vit.pipeline import PretrainingOutcome, learning
from wsi_vit.prediction.applied import load_applied
from wsi_vit.recipe import Recipe, load_recipe
from wsi_vit.settings import Settings
from wsi_vit.slides.synthetic import synthesise_cohort
from wsi_vit.slides.synthetic.settings import SyntheticSection
from wsi_vit.store import Store, verify_folder

RECIPE = """
labels: {classes: [{name: tile, colour: "#999999"}]}
source:
  kind: cohort
  tiles: {grid: {tile_px: 64, mpp: 1.0}}
split: {kind: patients, validation: 0.5, test: 0.0}
model:
  kind: mae
  start: {kind: config, options: {patch_px: 8, width: 64, depth: 2, heads: 2}}
  input_px: 64
  decoder_width: 64
  decoder_depth: 1
  decoder_heads: 2
augmentation: {preset: none}
training: {epochs: 60, batch_size: 8, learning_rate: 3.0e-3, workers: 0}
evaluation: {resamples: 100}
"""
CLASSES = """
labels:
  classes:
    - {name: tumour, colour: "#d55e00"}
    - {name: normal, colour: "#009e73"}
source: {kind: cohort, tiles: {grid: {tile_px: 64, mpp: 1.0}}}
split: {kind: patients}
model: {kind: vit, start: {kind: folder, path: PATH}, input_px: 64}
augmentation: {preset: none}
training: {epochs: 1}
"""


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides of two patients, and no word on what they show."""
    section = SyntheticSection(width_px=1024, height_px=1024, slides_per_patient=1)
    whole = synthesise_cohort(tmp_path_factory.mktemp("slides"), slides=2, seed=4, section=section)
    with whole.open(newline="") as stream:
        rows = [
            {k: row[k] for k in ("slide", "slide_id", "patient")} for row in csv.DictReader(stream)
        ]
    path = whole.with_name("unlabelled.csv")
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, unlabelled: Path) -> Recipe:
    path = tmp_path_factory.mktemp("recipes") / "tiny_pretraining.yaml"
    path.write_text(RECIPE)
    return load_recipe(path).reading(unlabelled)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(runs=tmp_path_factory.mktemp("pretraining") / "runs", workers=1, device="cpu")


@pytest.fixture(scope="module")
def done(recipe: Recipe, settings: Settings) -> PretrainingOutcome:
    began = time.process_time()
    found = pipeline.pretrain(recipe, settings=settings)
    assert time.process_time() - began < 120
    return found


def test_it_draws_more_than_one_colour_of_tiles_that_nobody_labelled(
    done: PretrainingOutcome,
) -> None:
    found = read_pretraining(done.run / "metrics.json")

    assert found.error.value is not None
    assert found.mean_colour.value is not None
    assert found.gain.value == pytest.approx(found.mean_colour.value - found.error.value, abs=2e-6)
    assert found.error.value < found.mean_colour.value < 0.6  # stained tissue has few colours
    assert found.beats_trivial
    assert f"{found.examples} images of 1 validation patient" in done.sentence
    assert any("which chose the weights" in warning for warning in found.warnings)


def test_a_run_leaves_what_other_runs_leave_and_pictures_of_what_it_draws(
    done: PretrainingOutcome,
) -> None:
    left = {path.relative_to(done.run).as_posix() for path in done.run.rglob("*.*")}

    assert left >= {
        "recipe.yaml",
        "metrics.json",
        "report.html",
        "manifest.json",
        "model/config.json",
        "model/card.md",
        "model/tiles.json",
        "figures/reconstruction.png",
        "figures/training.png",
    }
    assert verify_folder(done.run)[1] == []
    with Image.open(done.run / "figures" / "reconstruction.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 10
    page, card = done.report.read_text(), (done.weights / "card.md").read_text()
    assert page.count("<img ") == 2
    assert "wsi-vit pretrain tiny_pretraining --cohort unlabelled.csv" in page
    assert "Weights to begin from" in card
    assert "image-feature-extraction" in card


def test_a_classifier_begins_from_it(done: PretrainingOutcome, tmp_path: Path) -> None:
    from wsi_vit.models.building import build_model

    path = tmp_path / "classes.yaml"
    path.write_text(CLASSES.replace("PATH", str(done.weights)))
    recipe = load_recipe(path)

    begun = build_model(recipe.model, recipe.labels, recipe.task)

    wanted = load_model(done.weights).state_dict()
    found = begun.state_dict()
    shared = [name for name in wanted if name.startswith("network.encoder.")]
    assert len(shared) > 20
    assert all(np.array_equal(wanted[name], found[name]) for name in shared)


def test_what_is_there_is_not_done_again(
    recipe: Recipe, settings: Settings, done: PretrainingOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "learn", pytest.fail)

    again = pipeline.pretrain(recipe, settings=settings)

    assert again == done


def test_the_verb_tells_where_to_go_on(
    recipe: Recipe,
    settings: Settings,
    done: PretrainingOutcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WSI_VIT_RUNS", str(settings.runs))
    monkeypatch.setenv("WSI_VIT_DEVICE", "cpu")
    path, cohort = done.run / "recipe.yaml", str(recipe.source.cohort)  # type: ignore[union-attr]
    named = path.with_name("tiny_pretraining.yaml")
    named.write_text(path.read_text())

    said = CliRunner().invoke(app, ["pretrain", str(named), "--cohort", cohort])
    told = CliRunner().invoke(app, ["pretrain", str(named), "--cohort", cohort, "--json"])

    assert said.exit_code == 0, said.output
    assert "Begin from it: wsi-vit run RECIPE --start" in said.output.replace("\n", " ")
    assert json.loads(told.stdout)["run"] == str(done.run)


def test_recipes_with_and_without_labels_are_not_taken_for_each_other(
    recipe: Recipe, settings: Settings, done: PretrainingOutcome, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="Use `wsi-vit pretrain tiny_pretraining`"):
        pipeline.run_recipe(recipe, settings=settings)
    with pytest.raises(RecipeError, match="tells no classes apart"):
        pipeline.evaluate(done.run, settings=settings)
    with pytest.raises(RecipeError, match="learns from labels"):
        pipeline.pretrain(load_recipe("wsi_classification"), settings=settings)
    with pytest.raises(RegistryError, match="no test split can say"):
        pipeline.register(done.run, promotion="never", settings=settings)
    with pytest.raises(ModelError, match="Fine-tune from it first"):
        load_applied(done.weights)
    path = tmp_path / "two.yaml"
    path.write_text(RECIPE.replace('[{name: tile, colour: "#999999"}]', TWO))
    with pytest.raises(RecipeError, match="images without labels are of one class"):
        load_recipe(path)


TWO = '[{name: tile, colour: "#999999"}, {name: other, colour: "#000000"}]'


def test_a_folder_of_pictures_needs_no_labels_either(
    recipe: Recipe, settings: Settings, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    for number in range(12):
        pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    pictures = recipe.model_copy(update={"source": FolderSource(root=tmp_path)})

    built = pipeline.build(pictures, [], settings=settings)

    data = open_dataset(built.folder)
    assert len(data.examples("train")) + len(data.examples("validation")) == 12
    assert data.examples("train")[0].target == 0
    assert Store(settings.store_root).find(built.manifest.shape) is not None
