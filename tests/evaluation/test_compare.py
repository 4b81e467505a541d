import pytest

from tests.evaluation.fakes import ColourModel, tile_set
from wsi_vit.evaluation.compare import better
from wsi_vit.evaluation.evaluate import evaluate_model
from wsi_vit.evaluation.records import Evaluation, Score
from wsi_vit.evaluation.section import EvaluationSection


@pytest.fixture(scope="module")
def champion() -> Evaluation:
    dataset = tile_set(patients=2)
    section = EvaluationSection(resamples=100)
    return evaluate_model(ColourModel(dataset.labels, "classification"), dataset, section=section)


def with_headline(evaluation: Evaluation, value: float | None) -> Evaluation:
    return evaluation.model_copy(update={"headline": Score(name="macro_f1", value=value)})


def test_the_higher_headline_is_better(champion: Evaluation) -> None:
    low, high = with_headline(champion, 0.7), with_headline(champion, 0.8)

    assert better(high, low).verdict == "better"
    assert better(high, low).difference == 0.1
    assert better(low, high).verdict == "not better"


def test_an_equal_one_is_not_better(champion: Evaluation) -> None:
    assert better(champion, champion).verdict == "not better"


@pytest.mark.parametrize("field", ["dataset_digest", "split_digest", "split"])
def test_figures_from_different_data_are_not_compared(champion: Evaluation, field: str) -> None:
    other = champion.model_copy(update={field: "another"})

    found = better(other, champion)

    assert found.verdict == "not comparable"
    assert found.difference is None
    assert "another" in found.reason


def test_a_missing_figure_is_not_compared(champion: Evaluation) -> None:
    assert better(with_headline(champion, None), champion).verdict == "not comparable"
