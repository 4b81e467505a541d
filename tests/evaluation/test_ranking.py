import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sk_roc_curve

from wsi_vit.evaluation.ranking import auroc, auroc_per_class, pairs_won, roc_curve


def test_area_by_hand_with_a_tie() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.1])
    positive = np.array([True, True, False, False])

    assert auroc(scores, positive) == pytest.approx((2 + 1.5) / 4)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_the_area_agrees_with_scikit_learn_with_and_without_ties(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    positive = rng.random(500) < 0.3
    scores = np.round(rng.random(500) + 0.4 * positive, decimals)

    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_each_class_against_the_rest_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 300)
    scores = rng.dirichlet(np.ones(4), 300) + 0.3 * np.eye(4)[truth]
    scores /= scores.sum(axis=1, keepdims=True)

    expected = roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert auroc_per_class(scores, truth).mean() == pytest.approx(expected, abs=1e-12)


def test_a_class_that_nobody_or_everybody_has_is_nan() -> None:
    areas = auroc_per_class(np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([0, 0]))

    assert np.isnan(areas).all()


def test_the_curve_agrees_with_scikit_learn_and_keeps_its_corners() -> None:
    rng = np.random.default_rng(2)
    positive = rng.random(90) < 0.5
    scores = np.round(rng.random(90) + positive, 1)

    alarms, hits = roc_curve(scores, positive, points=1000)
    expected = sk_roc_curve(positive, scores, drop_intermediate=False)

    assert alarms == pytest.approx(expected[0])
    assert hits == pytest.approx(expected[1])
    few = roc_curve(scores, positive, points=5)
    assert [few[0][0], few[1][0], few[0][-1], few[1][-1]] == [0, 0, 1, 1]


def test_the_curve_of_one_side_alone_is_empty() -> None:
    assert roc_curve(np.array([0.1, 0.2]), np.array([True, True]))[0].size == 0


def test_pairs_between_patients_add_up_to_the_area_of_any_weighting() -> None:
    rng = np.random.default_rng(3)
    positive, owner = rng.random(200) < 0.4, rng.integers(0, 6, 200)
    scores = np.round(rng.random(200) + 0.3 * positive, 1)
    weights = rng.integers(0, 4, 6).astype(float)

    won = pairs_won(scores, positive, owner, 6)
    ups = np.bincount(owner[positive], minlength=6) @ weights
    downs = np.bincount(owner[~positive], minlength=6) @ weights

    expected = roc_auc_score(positive, scores, sample_weight=weights[owner])
    assert weights @ won @ weights / (ups * downs) == pytest.approx(expected, abs=1e-12)
