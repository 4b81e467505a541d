"""A recipe with and without its TokenLearner, on a few digits, for real."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from wsi_vit import pipeline
from wsi_vit.cli import app
from wsi_vit.datasets.digits import DigitsSource
from wsi_vit.errors import RecipeError
from wsi_vit.pipeline import ComparisonOutcome
from wsi_vit.recipe import Recipe, dump_recipe, load_recipe
from wsi_vit.settings import Settings
from wsi_vit.store import read_manifest


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    whole = load_recipe("token_learner_digits")
    return whole.model_copy(
        update={
            "source": DigitsSource(rows=120),
            "training": whole.training.model_copy(update={"epochs": 1}),
            "evaluation": whole.evaluation.model_copy(update={"resamples": 200}),
        }
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(runs=tmp_path_factory.mktemp("comparing") / "runs", workers=1, device="cpu")


@pytest.fixture(scope="module")
def done(recipe: Recipe, settings: Settings) -> ComparisonOutcome:
    return pipeline.compare_token_learner(recipe, seeds=2, settings=settings)


def test_each_side_is_trained_with_each_seed_on_the_same_splits(
    done: ComparisonOutcome, settings: Settings
) -> None:
    found = done.comparison

    runs = [settings.runs / run for run in (*found.without.runs, *found.learner.runs)]
    recipes = [load_recipe(run / "recipe.yaml") for run in runs]
    assert len(set(runs)) == 4
    assert [r.training.seed for r in recipes] == [0, 1, 0, 1]
    assert [r.model.token_learner is None for r in recipes] == [True, True, False, False]  # type: ignore[union-attr]
    assert len({(run / "dataset").resolve() for run in runs}) == 1


def test_the_figures_are_those_of_the_answers_that_are_kept(done: ComparisonOutcome) -> None:
    kept, found = json.loads((done.folder / "answers.json").read_text()), done.comparison

    truth = np.array(kept["truth"])
    right = {side: np.array(kept[side]) == truth for side in ("without", "learner")}
    assert len(kept["keys"]) == found.examples == 48
    assert found.without.accuracies == tuple(right["without"].mean(axis=1).round(6))
    assert found.difference.value == pytest.approx(
        right["learner"].mean() - right["without"].mean(), abs=1e-6
    )
    assert found.learner.gflops < found.without.gflops
    assert f"{found.examples} test images" in done.sentence


def test_what_is_there_is_not_done_again(
    recipe: Recipe, settings: Settings, done: ComparisonOutcome
) -> None:
    again = pipeline.compare_token_learner(recipe, seeds=2, settings=settings)

    assert again.reused
    assert again.folder == done.folder
    assert again.comparison == done.comparison


def test_another_seed_more_trains_only_what_is_new(
    recipe: Recipe, settings: Settings, done: ComparisonOutcome
) -> None:
    keys = [
        read_manifest(done.folder).shape.inputs[f"{side} {seed}"]
        for side in ("without", "learner")
        for seed in (0, 1)
    ]
    runs = settings.runs / recipe.name

    assert {path.name for path in runs.iterdir()} == {key[:16] for key in keys}
    third = pipeline.side_of(recipe, "learner", 2)
    assert (third.training.seed, third.model) == (2, recipe.model)


def test_a_recipe_without_a_token_learner_is_refused_before_any_work(settings: Settings) -> None:
    with pytest.raises(RecipeError, match="no TokenLearner to compare"):
        pipeline.compare_token_learner(
            load_recipe("ebhi_classification"), seeds=2, settings=settings
        )


def test_the_verb_tells_figures_test_and_page(
    recipe: Recipe,
    settings: Settings,
    done: ComparisonOutcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WSI_VIT_RUNS", str(settings.runs))
    monkeypatch.setenv("WSI_VIT_DEVICE", "cpu")
    path = tmp_path / f"{recipe.name}.yaml"
    path.write_text(dump_recipe(recipe))

    said = CliRunner().invoke(app, ["compare", str(path), "--seeds", "2"])
    told = CliRunner().invoke(app, ["compare", str(path), "--seeds", "2", "--json"])

    assert said.exit_code == 0, said.output
    assert "48 test images" in said.output
    assert "paired bootstrap" in said.output
    assert json.loads(told.stdout)["comparison"]["examples"] == 48
    assert json.loads(told.stdout)["folder"] == str(done.folder)
