"""The paired bootstrap over seeds and test images, against cases that can be worked out."""

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.records import Score
from wsi_vit.evaluation.token_learner.difference import (
    Accuracies,
    median_rate,
    median_ratio,
    paired_accuracies,
)


def compared(
    without: NDArray[np.bool_], learner: NDArray[np.bool_], units: list[str] | None = None
) -> Accuracies:
    names = units or [str(number) for number in range(without.shape[1])]
    return paired_accuracies(without, learner, names, resamples=4000, seed=0)


def answers(share: float, *, seeds: int = 5, images: int = 400, seed: int = 0) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random((seeds, images)) < share


def width(score: Score) -> float:
    assert score.low is not None
    assert score.high is not None
    return score.high - score.low


def test_two_models_that_answer_alike_differ_by_nothing_at_all() -> None:
    right = answers(0.8)

    found = compared(right, right)

    assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
    assert width(found.without) == width(found.learner)
    assert found.without.value == round(float(right.mean()), 6)


def test_the_difference_is_learner_less_without_in_shares_of_all_answers() -> None:
    without = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
    learner = np.array([[1, 1, 1, 0], [1, 1, 1, 0]], bool)

    found = compared(without, learner)

    assert (found.without.value, found.learner.value) == (3 / 8, 6 / 8)
    assert found.difference.value == 3 / 8


def test_what_is_hard_for_both_does_not_widen_the_paired_interval() -> None:
    without = np.repeat(answers(0.5, seeds=1), 5, axis=0)
    learner = without.copy()
    learner[:, :8] = ~learner[:, :8]

    found = compared(without, learner)

    assert width(found.difference) < width(found.without) / 2


def test_images_of_one_patient_are_drawn_together() -> None:
    right, better = answers(0.6, images=40), answers(0.7, images=40, seed=1)
    each = [f"patient-{number}" for number in range(40)]

    alone = compared(right, better, each)
    by_tens = compared(
        right.repeat(10, axis=1),
        better.repeat(10, axis=1),
        [name for name in each for _ in "0" * 10],
    )

    assert by_tens.difference.value == alone.difference.value
    assert abs(width(by_tens.difference) - width(alone.difference)) < 0.01


def test_seeds_that_disagree_widen_the_interval() -> None:
    learner = answers(0.8)
    swinging = learner.copy()
    swinging[0, :200] = ~swinging[0, :200]
    swinging[1, 200:] = ~swinging[1, 200:]

    assert width(compared(learner, swinging).difference) > 0.1


def test_the_interval_is_that_of_the_pigeonhole_bootstrap_drawn_one_by_one() -> None:
    without, learner = answers(0.85, images=60), answers(0.9, images=60, seed=3)
    random, gained = np.random.default_rng(5), learner.astype(float) - without

    drawn = [
        gained[np.ix_(random.integers(5, size=5), random.integers(60, size=60))].mean()
        for _ in range(4000)
    ]

    found = compared(without, learner).difference
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found.low is not None
    assert found.high is not None
    assert abs(found.low - low) < 0.006
    assert abs(found.high - high) < 0.006


def test_speed_is_the_median_over_rounds_so_that_one_slow_round_changes_little() -> None:
    slow, fast = [0.2] * 20 + [9.0], [0.1] * 21

    assert median_ratio(slow, fast, seed=0).value == 2.0
    assert median_rate(fast, seed=0).value == 10.0
    assert median_ratio(slow, fast, seed=0).high == 2.0
