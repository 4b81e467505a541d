import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from wsi_vit.evaluation.calibration import calibrate


def test_error_and_brier_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7]])
    truth = np.array([0, 1, 1, 1])

    found = calibrate(scores, truth, bins=10)

    assert found.ece == pytest.approx((2 * abs(0.5 - 0.9) + 2 * abs(1.0 - 0.7)) / 4)
    assert found.brier == pytest.approx((0.02 + 1.62 + 0.18 + 0.18) / 4)
    assert [bar.count for bar in found.bins] == [0, 0, 0, 0, 0, 0, 2, 0, 2, 0]


def test_two_class_brier_is_twice_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(200)
    truth = (rng.random(200) < positive).astype(int)

    found = calibrate(np.stack([1 - positive, positive], axis=1), truth)

    assert found.brier == pytest.approx(2 * brier_score_loss(truth, positive), abs=1e-6)


def test_scores_that_mean_what_they_say_have_little_error() -> None:
    rng = np.random.default_rng(1)
    scores = rng.dirichlet(np.ones(3), 20_000)
    truth = (scores.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)

    assert calibrate(scores, truth).ece < 0.015


def test_certain_scores_fall_in_the_last_bin_and_empty_bins_say_nothing() -> None:
    found = calibrate(np.array([[1.0, 0.0]]), np.array([0]))

    assert found.bins[-1].count == 1
    assert found.ece == 0.0
    assert found.bins[0].confidence is None
    assert len(found.bins) == 15
