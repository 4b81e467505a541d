"""Figures and thresholds of several labels, against scikit-learn and by hand."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch import Tensor

from tests.evaluation.fakes import TISSUE, ColourModel, MemoryExamples, MemorySet
from wsi_vit.datasets.example import Example
from wsi_vit.evaluation.evaluate import evaluate_model, evaluate_run
from wsi_vit.evaluation.inference import Names, ScoredLabels
from wsi_vit.evaluation.intervals import PatientDraws
from wsi_vit.evaluation.multi_label.items import counts_by_patient, per_group, per_tile
from wsi_vit.evaluation.multi_label.pictures import surest_found, words, worst_mistakes
from wsi_vit.evaluation.multi_label.thresholds import best_threshold, tune_thresholds
from wsi_vit.evaluation.report import write_report
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.labels import IGNORE_ID
from wsi_vit.metrics import average_precision, average_precision_per_label, counts_by_score

QUICK = EvaluationSection(resamples=200, batch_size=7)


class RedModel(ColourModel):
    """Scores each label by a channel of the mean colour."""

    def __init__(self) -> None:
        super().__init__(TISSUE, "multi_label", input_px=16)
        self.thresholds: tuple[float, ...] = (0.5, 0.5, 0.5)

    def scores(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3)) / 255 + 0 * self.centres.sum()

    def call_present_from(self, thresholds: Sequence[float]) -> None:
        self.thresholds = tuple(thresholds)


def red() -> Any:
    """Return such a model; it does only what an evaluation asks of one."""
    return RedModel()


def examples(count: int, *, seed: int) -> MemoryExamples:
    """Return pictures whose channels are brighter where a label is present, mostly."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(count):
        target = (rng.random(3) < (0.6, 0.3, 0.15)).astype(np.uint8)
        level = np.clip(rng.normal(90 + 70 * target, 45), 0, 255)
        target[rng.random(3) < 0.05] = IGNORE_ID
        image = np.broadcast_to(level.astype(np.uint8), (16, 16, 3)).copy()
        patient = f"p{number % 8}"
        items.append(
            Example(
                image=image,
                target=target,
                key=f"{patient}/{number}",
                slide_id=patient,
                patient=patient,
            )
        )
    return MemoryExamples(items)


@pytest.fixture(scope="module")
def dataset() -> MemorySet:
    splits = {name: examples(96, seed=n) for n, name in enumerate(("train", "validation", "test"))}
    return MemorySet(splits, TISSUE, "multi_label")


def known(dataset: MemorySet, k: int) -> tuple[Any, Any]:
    items = dataset.examples("test").items
    kept = [item for item in items if item.target[k] != IGNORE_ID]
    truth = np.array([item.target[k] for item in kept])
    return truth, np.array([item.image[0, 0, k] / 255 for item in kept])


def test_the_figures_agree_with_scikit_learn_over_what_is_known(dataset: MemorySet) -> None:
    found = evaluate_model(red(), dataset, section=QUICK)

    for k, row in enumerate(found.classes):
        truth, scores = known(dataset, k)
        assert row.score("ap").value == pytest.approx(average_precision_score(truth, scores))
        assert row.score("auroc").value == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
        assert row.score("f1").value == pytest.approx(f1_score(truth, scores >= 0.5), abs=1e-6)
        assert row.score("prevalence").value == pytest.approx(truth.mean(), abs=1e-6)
        assert row.support == truth.sum()
    mean = np.mean([row.score("ap").value or 0.0 for row in found.classes])
    assert found.headline.name == "mean_ap"
    assert found.headline.value == pytest.approx(mean, abs=1e-6)
    low, high = found.headline.low, found.headline.high
    assert low is not None and high is not None
    assert low < mean < high


def test_chance_is_how_common_a_label_is(dataset: MemorySet) -> None:
    found = evaluate_model(red(), dataset, section=QUICK)
    shares = [row.score("prevalence").value or 0 for row in found.classes]
    rules = {rule.name: rule.value for rule in found.baselines}
    assert rules["prevalence"] == pytest.approx(np.mean(shares), abs=1e-6)
    assert rules["colour histogram"]
    assert found.beats_trivial


def test_resampled_precision_is_that_of_the_resampled_examples() -> None:
    rng = np.random.default_rng(5)
    scores, positive = rng.random(60).round(1), rng.random(60) < 0.4
    patients = [f"p{n % 6}" for n in range(60)]
    draws = PatientDraws(patients, resamples=30, seed=1)
    names, counts = counts_by_patient(scores, positive, patients)
    drawn = draws.of_counts(counts, names, {"ap": average_precision})["ap"]

    weights = next(iter(draws._weights()))
    for row, value in zip(weights, drawn, strict=True):
        times = row[draws.owners(patients)].astype(int)
        expected = average_precision_score(np.repeat(positive, times), np.repeat(scores, times))
        assert value == pytest.approx(expected)


def test_very_many_scores_are_resampled_by_neighbours_with_little_change() -> None:
    rng = np.random.default_rng(6)
    positive = rng.random(5000) < 0.2
    scores = rng.normal(positive * 1.0, 1.0)
    _, counts = counts_by_patient(scores, positive, ["one"] * 5000)
    assert counts.shape == (1, 1000, 2)
    exact = average_precision_score(positive, scores)
    assert average_precision(counts[0]) == pytest.approx(exact, abs=2e-3)
    patients = [f"{number % 4000}" for number in range(5000)]
    _, coarser = counts_by_patient(scores, positive, patients)
    assert coarser.shape == (4000, 200, 2)
    assert average_precision(coarser.sum(axis=0)) == pytest.approx(exact, abs=5e-3)


def test_a_label_that_nothing_shows_has_no_precision() -> None:
    found = average_precision_per_label(
        np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[0, 1], [0, IGNORE_ID]], np.uint8)
    )
    assert np.isnan(found[0])
    assert found[1] == 1


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_larger_f1_than_the_one_that_is_chosen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(40) < 0.3
    scores = rng.random(40).round(1)
    chosen = best_threshold(scores, positive)
    best = f1_score(positive, scores >= chosen)
    others = [f1_score(positive, scores >= limit) for limit in np.unique(scores)]
    assert best == pytest.approx(max(others))


@pytest.mark.parametrize(
    ("scores", "positive", "threshold"),
    [
        ([0.9, 0.6, 0.2], [1, 1, 0], 0.4),  # halfway to the next
        ([0.9, 0.6, 0.5, 0.4], [1, 0, 0, 1], 0.75),  # of two as good, the higher
        ([0.8, 0.6], [0, 1], 0.3),  # all are called, from halfway to 0
        ([0.9, 0.1], [0, 0], 0.5),
        ([0.9, 0.1], [1, 1], 0.5),
        ([], [], 0.5),
    ],
)
def test_thresholds_by_hand(scores: list[float], positive: list[int], threshold: float) -> None:
    found = best_threshold(np.array(scores), np.array(positive, bool))
    assert found == pytest.approx(threshold)


def test_tuning_is_done_on_the_scores_that_are_applied(dataset: MemorySet) -> None:
    model = red()
    found = tune_thresholds(model, dataset.examples("validation"), average="flips")
    assert model.thresholds == found
    assert all(0.2 < threshold < 0.8 for threshold in found)
    tuned = evaluate_model(model, dataset, section=QUICK).level("tile").score("macro_f1").value
    plain = evaluate_model(red(), dataset, section=QUICK).level("tile").score("macro_f1").value
    assert tuned and plain and tuned > plain


def made_up(presence: list[list[int]], scores: list[list[float]]) -> ScoredLabels:
    count = len(presence)
    slides = tuple(f"s{n // 2}" for n in range(count))
    names = Names(indices=np.arange(count), keys=slides, slides=slides, patients=slides)
    return ScoredLabels(
        names=names,
        presence=np.array(presence, np.uint8),
        scores=np.array(scores, np.float32),
        thresholds=(0.5,) * len(presence[0]),
    )


def test_a_slide_shows_what_any_of_its_tiles_shows() -> None:
    found = made_up(
        [[0, IGNORE_ID, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0.2, 0.9, 0.1], [0.7, 0.1, 0.3], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]],
    )
    slides = per_group(found, found.names.slides)
    assert slides.presence.tolist() == [[1, IGNORE_ID, 0], [0, 0, 0]]
    assert slides.scores == pytest.approx(np.array([[0.7, 0.9, 0.3], [0.3, 0.2, 0.3]]))
    assert slides.matches.tolist() == [1, 1]


def test_what_is_not_known_counts_nowhere() -> None:
    found = per_tile(made_up([[1, IGNORE_ID], [0, 1]], [[0.9, 0.9], [0.8, 0.2]]))
    assert found.tables.sum(axis=0).tolist() == [[[0, 1], [0, 1]], [[0, 0], [1, 0]]]
    assert found.matches.tolist() == [1, 0]


def test_the_worst_mistakes_come_first_and_labels_take_turns() -> None:
    found = made_up(
        [[1, 0, 0], [1, 0, 0], [0, 1, IGNORE_ID], [0, 0, 1]],
        [[0.1, 0.6, 0.1], [0.3, 0.9, 0.2], [0.95, 0.9, 0.9], [0.1, 0.1, 0.8]],
    )
    assert worst_mistakes(found, at_most=3) == [(2, 0), (1, 1), (0, 0)]
    assert surest_found(found, at_most=5) == [(2, 1), (3, 2)]
    assert words(found, TISSUE, 2, 0) == "no tumour\nscore 95%, from 50%"
    assert words(found, TISSUE, 0, 0) == "tumour missed\nscore 10%, from 50%"
    assert words(found, TISSUE, 2, 1) == "stroma\nscore 90%, from 50%"


def test_scores_that_are_the_same_are_called_together() -> None:
    scores, positive = np.array([0.5, 0.5, 0.2]), np.array([True, False, False])
    assert counts_by_score(scores, positive).tolist() == [[1, 1], [1, 0]]
    assert average_precision(counts_by_score(scores, positive)) == 0.5


def test_a_run_gets_its_charts_and_pictures_and_a_report(
    dataset: MemorySet, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    torch.manual_seed(0)
    model = red()
    from safetensors.torch import save_file

    save_file(dict(model.state_dict()), tmp_path / "model" / "model.safetensors")
    found = evaluate_run(model, dataset, run=tmp_path, section=QUICK)
    page = write_report(tmp_path).read_text()

    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        *("classes", "found", "mistaken", "precision_recall", "roc")
    }
    assert len(found.precision_recall) == 3
    for curve in found.precision_recall:
        assert curve.at is not None
        assert 0 < curve.at[0] <= 1
    assert "mean AP" in page
    assert "exact match" in page


def test_a_label_that_every_example_shows_is_told(dataset: MemorySet) -> None:
    items = [replace(i, target=np.array([1, i.target[1], i.target[2]], np.uint8))
             for i in dataset.examples("test").items]  # fmt: skip
    always = MemorySet({**dataset.splits, "test": MemoryExamples(items)}, TISSUE, "multi_label")
    found = evaluate_model(red(), always, section=QUICK)
    assert any("Shown by every example" in warning for warning in found.warnings)
    assert found.classes[0].score("auroc").value is None
