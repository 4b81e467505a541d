"""One tiny cohort, taken through the whole main job once a session."""

import csv
from pathlib import Path
from typing import Any

import pytest

from wsi_vit import pipeline
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.pipeline.run_folder import place_of
from wsi_vit.recipe import Recipe, load_recipe
from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.slides.synthetic import synthesise_cohort
from wsi_vit.slides.synthetic.settings import SyntheticSection

LEARNER = """
labels:
  classes:
    - {name: tumour, colour: "#d55e00"}
    - {name: normal, colour: "#009e73"}
    - {name: stroma, colour: "#cc79a7"}
    - {name: mucus, colour: "#56b4e9"}
source:
  kind: cohort
  tiles: {grid: {tile_px: 64, mpp: 1.0}}
  labelling: {min_coverage: 0.6}
split: {kind: patients, validation: 0.25, test: 0.25}
model:
  kind: classifier
  start:
    kind: config
    options: {model_type: vit, patch_size: 16, hidden_size: 32, num_hidden_layers: 2,
              num_attention_heads: 2, intermediate_size: 64}
  input_px: 64
augmentation: {preset: none}
training: {epochs: 24, batch_size: 8, learning_rate: 1.0e-3, workers: 0}
evaluation: {resamples: 100, anomaly: {score: knn}}
"""


class Done(Section):
    """What the main job came to."""

    slides: list[pipeline.SlideOutcome]
    dataset: Path
    run: Path
    model: pipeline.ModelOutcome


@pytest.fixture(scope="session")
def good_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    section = SyntheticSection(width_px=1536, height_px=1152, slides_per_patient=1)
    return synthesise_cohort(tmp_path_factory.mktemp("cohort"), slides=4, seed=3, section=section)


@pytest.fixture(scope="session")
def cohort(good_cohort: Path) -> Path:
    """Four good slides, a text that is called a slide, and one that is not there."""
    (good_cohort.parent / "slides" / "letter.svs").write_text("Dear colleague,\n")
    with good_cohort.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    bad = {**rows[0], "annotations": "", "mpp": ""}
    rows += [
        {**bad, "slide": f"slides/{name}.svs", "slide_id": name, "patient": name}
        for name in ("letter", "lost")
    ]
    path = good_cohort.with_name("all.csv")
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(LEARNER)
    return path


@pytest.fixture(scope="session")
def recipe(recipe_file: Path, cohort: Path) -> Recipe:
    return load_recipe(recipe_file).reading(cohort)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(runs=tmp_path_factory.mktemp("job") / "runs", workers=1, device="cpu")


@pytest.fixture(scope="session")
def done(recipe: Recipe, settings: Settings) -> Done:
    slides = pipeline.tile_cohort(recipe, settings=settings)
    dataset = pipeline.build(recipe, slides, settings=settings).folder
    run = pipeline.train(recipe, dataset, settings=settings).run
    pipeline.evaluate(run, settings=settings)
    model = pipeline.register(run, promotion="if better", settings=settings)
    return Done(slides=slides, dataset=dataset, run=run, model=model)


@pytest.fixture
def as_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the verbs, which read the environment, find the same folders."""
    monkeypatch.setenv("WSI_VIT_RUNS", str(settings.runs))
    monkeypatch.setenv("WSI_VIT_DEVICE", "cpu")
    monkeypatch.delenv("WSI_VIT_MLFLOW_URI", raising=False)


def trained_otherwise(recipe: Recipe, **changes: Any) -> Recipe:
    """Return a recipe with other training; its run is another one."""
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


def run_folder(recipe: Recipe, dataset: Path, settings: Settings) -> Path:
    return place_of(recipe, open_dataset(dataset), runs=settings.runs).folder
