"""How well a model would notice what it does not know, and where that is kept."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.evaluation.fakes import TISSUE, ColourModel, MemorySet, relabelled, tile_set
from wsi_vit.errors import ModelError, RecipeError
from wsi_vit.evaluation.anomaly import measure_anomaly
from wsi_vit.evaluation.evaluate import evaluate_run
from wsi_vit.evaluation.records import AnomalyFound, read_evaluation
from wsi_vit.evaluation.report import write_report
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.anomaly.scorer import ANOMALY, AnomalyScorer, load_scorer
from wsi_vit.models.anomaly.section import AnomalySection
from wsi_vit.models.building import build_model
from wsi_vit.models.load import load_model
from wsi_vit.models.sections import VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.recipe import load_recipe

SECTION = EvaluationSection(resamples=200)


class SeesColour(ColourModel):
    """Its head sees the mean colour."""

    section = SimpleNamespace(tuning="head")

    def features(self, images: Tensor) -> Tensor:
        assert not self.training
        return images.float().mean(dim=(2, 3))


def measured(data: MemorySet, *, score: str = "mahalanobis") -> tuple[AnomalyScorer, AnomalyFound]:
    anomaly = AnomalySection.model_validate({"score": score, "neighbours": 5})
    model: Any = SeesColour(TISSUE, "classification").train()
    found = measure_anomaly(model, data, split="test", anomaly=anomaly, section=SECTION)
    assert model.training
    return found


@pytest.mark.parametrize("score", ["mahalanobis", "knn"])
def test_a_class_is_noticed_by_a_score_that_does_not_know_it(score: str) -> None:
    scorer, found = measured(tile_set(), score=score)

    unseen = {item.name: item for item in found.unseen}
    mucus = unseen["mucus"]  # by far the most unlike the other two
    assert (mucus.value or 0) > 0.85
    assert mucus.low is not None
    assert mucus.low <= (mucus.value or 0) <= (mucus.high or 0)
    assert (found.examples, found.classes_known) == (72, False)
    assert scorer.usual_share == found.beyond.value
    assert (found.beyond.value or 0) < 0.2


def test_it_is_found_alike_each_time() -> None:
    assert measured(tile_set())[1] == measured(tile_set())[1]


def test_tiles_of_no_class_take_no_part() -> None:
    data = tile_set()
    train = relabelled(data.splits["train"], 0, IGNORE_ID)

    assert measured(replace(data, splits=data.splits | {"train": train}))[1].examples == 71


def test_a_class_without_examples_has_no_figure() -> None:
    data = tile_set()
    test = [item for item in data.splits["test"].items if int(item.target) != 2]
    _, found = measured(
        replace(data, splits=data.splits | {"test": type(data.splits["test"])(test)})
    )

    assert [item.value is None for item in found.unseen] == [False, False, True]


def test_no_training_examples_are_an_error() -> None:
    data = tile_set()
    with pytest.raises(ModelError, match="Too few training examples"):
        measured(replace(data, splits={"test": data.splits["test"]}))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    options = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16}
    section = VitSection(start=ConfigStart(options=options), input_px=32)
    build_model(section, TISSUE, "classification").save(tmp_path / "model")
    return tmp_path


def test_a_run_keeps_the_score_beside_its_weights_and_tells_of_it(run: Path) -> None:
    model, data = load_model(run / "model"), tile_set()
    asked = SECTION.model_copy(update={"anomaly": AnomalySection()})

    found = evaluate_run(model, data, run=run, section=asked).anomaly
    scorer = load_scorer(run / "model")

    assert found
    assert scorer
    assert scorer.usual_share == found.beyond.value
    assert found.classes_known  # all of this network learnt
    assert read_evaluation(run / "metrics.json").anomaly == found
    report = write_report(run).read_text()
    assert "What would be noticed as unlike the training" in report
    assert "a class that is new to it too is noticed less well" in report

    evaluate_run(model, data, run=run, section=SECTION)
    assert not (run / "model" / ANOMALY).exists()
    assert "unlike the training" not in write_report(run).read_text()


def test_only_classifiers_have_such_a_score(tmp_path: Path) -> None:
    text = Path("configs/demo_segmentation.yaml").read_text()
    (tmp_path / "masks.yaml").write_text(text + "\nevaluation: {anomaly: {score: knn}}\n")

    with pytest.raises(RecipeError, match="one class an image"):
        load_recipe(tmp_path / "masks.yaml")
