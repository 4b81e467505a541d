"""What holds of figures whatever the scores: ties, absent classes, few patients."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.evaluation.fakes import COLOURS, ColourModel, MemoryExamples, tile_set
from wsi_vit.datasets.example import Example
from wsi_vit.evaluation.baselines import (
    HistogramRule,
    MajorityRule,
    MeanColourRule,
    PixelColourRule,
    TileRules,
    histogram,
    learn_pixel_rule,
)
from wsi_vit.evaluation.calibration import calibrate
from wsi_vit.evaluation.compare import better
from wsi_vit.evaluation.evaluate import evaluate_model
from wsi_vit.evaluation.intervals import PatientDraws, bounds
from wsi_vit.evaluation.ranking import auroc, roc_curve
from wsi_vit.evaluation.records import Baseline, Evaluation, Score, tidy
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.words import (
    best_baseline,
    counted,
    figure,
    headline_sentence,
    meaning,
    number,
    trivial_sentence,
)
from wsi_vit.labels import IGNORE_ID
from wsi_vit.metrics import accuracy, sensitivity_per_class

RANKED = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40)


@settings(max_examples=50, deadline=None)
@given(RANKED)
def test_the_area_is_the_share_of_pairs_in_order_a_tie_counting_half(
    items: list[tuple[int, bool]],
) -> None:
    scores, positive = np.array([s for s, _ in items]) / 4, np.array([p for _, p in items])
    assume(positive.any() and not positive.all())
    ups, downs = scores[positive][:, None], scores[~positive]

    by_hand = ((ups > downs) + 0.5 * (ups == downs)).mean()

    assert auroc(scores, positive) == pytest.approx(by_hand, abs=1e-12)
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert auroc(-scores, positive) == pytest.approx(1 - by_hand, abs=1e-12)
    assert auroc(np.exp(scores), positive) == pytest.approx(by_hand, abs=1e-12)
    alarms, hits = roc_curve(scores, positive)
    assert np.trapezoid(hits, alarms) == pytest.approx(by_hand, abs=1e-12)


def test_scores_that_are_all_alike_rank_by_chance() -> None:
    assert auroc(np.full(9, 0.3, np.float32), np.arange(9) < 4) == 0.5


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), classes=st.integers(2, 6), bins=st.integers(1, 20))
def test_the_bins_hold_every_item_once_and_their_gaps_make_the_error(
    seed: int, classes: int, bins: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes), 50).astype(np.float32)
    truth = rng.integers(0, classes, 50)

    found = calibrate(scores, truth, bins=bins)

    held = [bar for bar in found.bins if bar.count]
    assert sum(bar.count for bar in found.bins) == 50
    gaps = sum(bar.count * abs(bar.accuracy - bar.confidence) for bar in held) / 50  # type: ignore[operator]
    assert found.ece == pytest.approx(gaps, abs=1e-5)
    assert all(bar.low <= bar.confidence <= bar.high + 1e-6 for bar in held)  # type: ignore[operator]
    right = (scores.argmax(axis=1) == truth).mean()
    assert sum(bar.count * bar.accuracy for bar in held) / 50 == pytest.approx(right, abs=1e-5)  # type: ignore[operator]
    assert 0 <= found.brier <= 2


def test_a_model_that_is_always_sure_and_always_wrong_is_worst_in_both() -> None:
    found = calibrate(np.eye(2)[[0, 0, 1]], np.array([1, 1, 0]))

    assert (found.ece, found.brier) == (1.0, 2.0)


@pytest.mark.parametrize("seed", range(8))
def test_of_two_patients_a_class_that_one_has_gets_no_interval_whatever_the_seed(
    seed: int,
) -> None:
    """It is absent from a quarter of the resamples, so a bound of a quarter was a coin's toss."""
    counts = np.array([[[8, 2], [0, 0]], [[5, 0], [3, 2]]])
    draws = PatientDraws(["a", "b"], resamples=1000, seed=seed)

    low, high = bounds(draws.of_counts(counts, ["a", "b"], {"s": sensitivity_per_class})["s"])

    assert not np.isnan([low[0], high[0]]).any()
    assert np.isnan([low[1], high[1]]).all()


@pytest.mark.parametrize("patients", [3, 8, 60])
def test_a_class_that_two_patients_have_gets_one_whatever_their_number(patients: int) -> None:
    counts = np.zeros((patients, 2, 2), np.int64)
    counts[:, 0, 0] = 5
    counts[:2, 1] = [3, 2]
    names = [f"p{i}" for i in range(patients)]
    draws = PatientDraws(names, resamples=1000, seed=0)

    low, high = bounds(draws.of_counts(counts, names, {"s": sensitivity_per_class})["s"])

    assert low[1] == high[1] == pytest.approx(0.4)


def test_the_mean_over_patients_is_covered_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(11), 0
    names = [str(i) for i in range(40)]
    for trial in range(120):
        values = rng.beta(6, 2, 40)
        draws = PatientDraws(names, resamples=300, seed=trial)
        low, high = bounds(draws.of_means(values, names))
        covered += bool(low <= 6 / 8 <= high)

    assert 105 <= covered <= 119  # 95 % of 120 is 114


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(6)), seed=st.integers(0, 9))
def test_the_order_of_the_tiles_moves_no_bound(order: list[int], seed: int) -> None:
    counts = np.array([[[i, 1], [2, 5 - i]] for i in range(6)])
    names = ["a", "a", "b", "c", "c", "d"]
    samples = [
        PatientDraws(patients, resamples=100, seed=seed).of_counts(
            table, patients, {"a": accuracy}
        )["a"]
        for patients, table in ((names, counts), ([names[i] for i in order], counts[order]))
    ]

    assert np.array_equal(*samples)


def tile(colour: tuple[int, int, int], target: int) -> Example:
    image = np.full((4, 4, 3), colour, np.uint8)
    return Example(
        image=image, target=np.array(target, np.uint8), key="k", slide_id="s", patient="p"
    )


def test_the_rules_by_hand() -> None:
    truth = np.array([0, 0, 2, 2, 2])
    majority = MajorityRule(truth, 3)
    colours = np.array([[0, 0, 0], [20, 20, 20], [200, 0, 0], [200, 0, 0], [230, 0, 0]], float)
    nearest = MeanColourRule(colours, truth)
    shown = [tile((30, 30, 30), 0), tile((150, 0, 0), 2), tile((0, 0, 255), 1)]
    rules = TileRules([majority, nearest], 3)

    rules(shown)

    assert majority.predict(shown).tolist() == [2, 2, 2]
    assert nearest.centres.tolist() == [[10, 10, 10], [210, 0, 0]]
    assert nearest.predict(shown).tolist() == [0, 2, 0]  # the unseen class is never said
    assert rules.counts[0].tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert rules.counts[1].tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_the_histogram_tells_apart_what_the_mean_cannot() -> None:
    """Black and white against grey: one mean, two histograms."""
    checks, grey = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 128, np.uint8)
    checks[::2] = 255
    truth = np.array([0, 1] * 10)
    rule = HistogramRule(np.stack([histogram(i) for i in [checks, grey] * 10]), truth)
    shown = [
        Example(image=i, target=np.array(0, np.uint8), key="", slide_id="", patient="")
        for i in (grey, checks)
    ]

    assert rule.predict(shown).tolist() == [1, 0]


def test_the_pixel_rule_by_hand_leaves_ignored_pixels_out() -> None:
    image = np.array([[[0, 0, 0], [90, 0, 0]], [[255, 0, 0], [250, 250, 250]]], np.uint8)
    mask = np.array([[0, 0], [2, IGNORE_ID]], np.uint8)
    one = Example(image=image, target=mask, key="", slide_id="", patient="")
    rule = learn_pixel_rule(MemoryExamples([one]), classes=3, most=9, seed=0, batch_size=1)

    assert isinstance(rule, PixelColourRule)
    assert rule.ids.tolist() == [0, 2]
    rule([one])
    assert rule.counts.tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_a_rule_knows_the_class_of_a_mask_of_another_size_by_its_nearest_pixel() -> None:
    image = np.repeat(np.repeat(COLOURS[:2, None], 4, axis=0), 8, axis=1).astype(np.uint8)
    mask = np.repeat(np.array([[0], [1]], np.uint8), 2, axis=1)
    one = Example(image=image, target=mask, key="", slide_id="", patient="")
    rule = learn_pixel_rule(MemoryExamples([one]), classes=2, most=1, seed=0, batch_size=1)

    assert rule is not None
    rule([one])
    assert rule.counts.tolist() == [[2, 0], [0, 2]]


@pytest.fixture(scope="module")
def found() -> Evaluation:
    dataset = tile_set(patients=2, per_patient=4)
    model = ColourModel(dataset.labels, "classification")
    return evaluate_model(model, dataset, section=EvaluationSection(resamples=100))


@pytest.mark.parametrize(
    ("changes", "opening"),
    [
        ({}, "On 2 unseen patients (8 tiles of 2 slides) the model named the class of a tile"),
        ({"split": "train"}, "On the very patients it has learned from (8 tiles of 2 slides)"),
        ({"split": "validation"}, "On 2 patients whose figures chose the weights"),
        ({"estimate": "regions of one patient"}, "On other regions of a patient it has learned"),
        ({"slides": 8}, "On 2 unseen patients (8 images) the model named the class of an image"),
        ({"patients": 1, "slides": 1}, "On 1 unseen patient (8 tiles of 1 slide)"),
    ],
)
def test_the_headline_says_whom_it_speaks_of(
    found: Evaluation, changes: dict[str, object], opening: str
) -> None:
    assert headline_sentence(found.model_copy(update=changes)).startswith(opening)


def test_the_strongest_rule_is_the_one_that_is_quoted(found: Evaluation) -> None:
    rules = [Baseline(name=n, how="", value=v) for n, v in (("a", 0.2), ("b", None), ("c", 0.6))]
    changed = found.model_copy(update={"baselines": tuple(rules), "beats_trivial": False})

    assert best_baseline(changed) == rules[2]
    assert trivial_sentence(changed).endswith(
        "does not beat the best trivial rule, “c”, which reaches 0.60."
    )
    assert "No trivial rule" in trivial_sentence(found.model_copy(update={"baselines": ()}))


def test_the_background_that_counts_or_not_is_named(found: Evaluation) -> None:
    masks = found.model_copy(
        update={"task": "segmentation", "headline": Score(name="mean_iou", value=0.5)}
    )

    assert meaning(masks).endswith("No class is left out of it.")
    named = masks.model_copy(update={"background": "glass"})
    assert meaning(named).endswith("The background (glass) is left out of it.")


def test_figures_are_written_as_people_write_them() -> None:
    assert figure(Score(name="f1", value=0.5)) == "0.50"
    assert figure(Score(name="f1", value=0.936, low=0.9, high=0.971)) == (
        "0.94 (95 % interval 0.90 to 0.97)"
    )
    assert number(None) == "\u2013"
    assert [counted(n, "slide") for n in (0, 1, 1234)] == ["0 slides", "1 slide", "1,234 slides"]
    assert tidy(float("nan")) is None
    assert tidy(np.float64(1 / 3)) == 0.333333


def test_other_metrics_and_other_backgrounds_are_not_compared(found: Evaluation) -> None:
    other = found.model_copy(update={"headline": Score(name="mean_iou", value=0.9)})
    background = found.model_copy(update={"background": "glass"})

    assert "headline metrics: mean_iou and macro_f1" in better(other, found).reason
    assert "background classes: glass and none" in better(background, found).reason
