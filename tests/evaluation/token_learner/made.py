"""A comparison that nobody measured, for the tests of what is said of it."""

from typing import Any

from wsi_vit.evaluation.records import Score
from wsi_vit.evaluation.token_learner.records import Comparison, Side
from wsi_vit.models.sections import TokenLearnerSection


def score(value: float, low: float, high: float) -> Score:
    return Score(name="accuracy", value=value, low=low, high=high)


def side(accuracy: float, steps: float, each: tuple[float, ...]) -> Side:
    return Side(
        accuracy=score(accuracy, accuracy - 0.01, accuracy + 0.01),
        accuracies=each,
        steps_per_s=score(steps, steps - 1, steps + 1),
        gflops=0.021,
        peak_mib=120.0,
        parameters=80_000,
        runs=("digits/a", "digits/b"),
    )


def comparison(**changes: Any) -> Comparison:
    made = Comparison(
        recipe="token_learner_digits",
        token_learner=TokenLearnerSection(after_block=1, tokens=2),
        dataset_digest="d" * 64,
        split_digest="s" * 64,
        estimate="unseen images",
        unit="images",
        units=719,
        examples=719,
        seeds=(0, 1),
        without=side(0.96, 20, (0.95, 0.97)),
        learner=side(0.955, 50, (0.955, 0.955)),
        difference=score(-0.005, -0.012, 0.002),
        speed_up=score(2.5, 2.4, 2.6),
        resamples=10_000,
        rounds=25,
        step_images=32,
        precision="fp32",
        device="a CPU",
        clock="its own seconds",
        memory="what it grows by",
        warnings=("<b>patients</b> are unknown",),
    )
    return made.model_copy(update=changes)
