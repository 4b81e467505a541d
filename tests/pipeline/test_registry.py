"""From runs to versions, and who is champion."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import Done, trained_otherwise
from wsi_vit import pipeline
from wsi_vit.errors import RegistryError
from wsi_vit.evaluation.records import read_evaluation
from wsi_vit.pipeline.registering import registry_of
from wsi_vit.recipe import Recipe
from wsi_vit.settings import Settings

NAME = "wsi-vit-tiny"


@pytest.fixture
def apart(done: Done, settings: Settings, tmp_path: Path) -> Settings:
    """The same runs, and a copy of the registry to play with."""
    shutil.copy(settings.runs / "mlflow.db", tmp_path / "mlflow.db")
    return settings.model_copy(update={"mlflow_uri": f"sqlite:///{tmp_path}/mlflow.db"})


def aliases(settings: Settings) -> dict[str, int]:
    return {
        alias: item.version for item in pipeline.models(settings=settings) for alias in item.aliases
    }


def test_a_good_first_version_is_champion(done: Done) -> None:
    assert (done.model.name, done.model.version, done.model.decision) == (NAME, 1, "first")
    assert set(done.model.aliases) == {"champion", "challenger"}
    assert done.model.estimate == "unseen patients"
    assert done.model.headline.startswith("macro_f1 0.")
    assert "beats the trivial baselines" in done.model.spoken()


def test_the_same_run_keeps_its_version(done: Done, apart: Settings) -> None:
    again = pipeline.register(done.run, promotion="if better", settings=apart)

    assert (again.version, again.decision) == (1, "kept")
    assert len(pipeline.models(settings=apart)) == 1


def test_a_worse_version_waits_and_a_champion_can_be_brought_back(
    done: Done, recipe: Recipe, apart: Settings
) -> None:
    other = trained_otherwise(recipe, seed=1)
    run = pipeline.train(other, done.dataset, settings=apart).run
    better = pipeline.evaluate(run, settings=apart).headline.value
    best = read_evaluation(done.run / "metrics.json").headline.value
    assert better is not None
    assert best is not None

    waiting = pipeline.register(run, promotion="never", settings=apart)
    assert (waiting.version, waiting.decision) == (2, "registered")
    assert aliases(apart) == {"champion": 1, "challenger": 2}

    decided = pipeline.promote(NAME, settings=apart)
    assert decided.decision == ("promoted" if better > best else "kept")

    # Crown the second by hand, whichever is better, to have somebody to go back from.
    registry_of(apart)._crown(NAME, 2, previous=1)
    back = pipeline.rollback(NAME, settings=apart)
    assert (back.version, back.decision) == (1, "rolled_back")
    assert aliases(apart)["champion"] == 1

    with pytest.raises(RegistryError, match="No previous champion"):
        pipeline.rollback(NAME, settings=apart)


def test_regions_of_one_patient_never_make_a_champion(recipe: Recipe, apart: Settings) -> None:
    """One slide of one patient, cut into bands: its figures stay apart from all others."""
    row = pipeline.cohort_of(recipe).rows[0]
    alone = recipe.model_copy(
        update={
            "name": "alone",
            "split": {"kind": "regions", "validation": 0.3, "test": 0.3, "guard_tiles": 0.0},
        }
    )
    alone = Recipe.model_validate(alone.model_dump(mode="json", warnings=False))
    alone = trained_otherwise(alone, epochs=1)
    slides = [pipeline.tile_row(row, recipe=alone, settings=apart)]
    dataset = pipeline.build(alone, slides, settings=apart)
    run = pipeline.train(alone, dataset.folder, settings=apart).run

    found = pipeline.evaluate(run, settings=apart)
    version = pipeline.register(run, promotion="if better", settings=apart)

    assert found.estimate == version.estimate == "regions of one patient"
    scores = [found.headline, *found.level("tile").scores]
    assert all((score.low, score.high) == (None, None) for score in scores)
    assert version.decision == "refused"
    assert "champion" not in version.aliases
    with pytest.raises(RegistryError, match="never promoted"):
        pipeline.promote(version.name, settings=apart)
    ledger = registry_of(apart).ledger(version.name)
    assert [entry.outcome for entry in ledger] == ["refused", "refused"]
