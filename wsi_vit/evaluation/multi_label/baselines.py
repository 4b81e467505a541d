"""What trivial rules reach where an example has several labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.example import Example, Examples
from wsi_vit.evaluation.baselines import histogram, sampled
from wsi_vit.evaluation.records import Baseline, tidy
from wsi_vit.labels import IGNORE_ID
from wsi_vit.metrics import average_precision_per_label, mean_present

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float64]


class HistogramRule:
    """A logistic regression a label on the colour histogram; how common it is, without one."""

    def __init__(self, histograms: Floats, presence: NDArray[np.uint8]) -> None:
        self._models = [_fitted(histograms, shown) for shown in presence.T]

    def scores(self, examples: Sequence[Example]) -> Floats:
        """Return how sure it is of each label, (n, labels)."""
        features = np.stack([histogram(example.image) for example in examples])
        columns = [
            np.full(len(features), model)
            if isinstance(model, float | int)
            else model.predict_proba(features)[:, 1]
            for model in self._models
        ]
        return np.stack(columns, axis=1)


class LabelRules:
    """Asks the rules of every batch on its way to the model."""

    def __init__(self, rule: HistogramRule | None) -> None:
        self._rule = rule
        self._scores: list[Floats] = []
        self._presence: list[NDArray[np.uint8]] = []

    def __call__(self, examples: Sequence[Example]) -> None:
        """Note what is true of these examples, and what the rule says."""
        self._presence += [example.target for example in examples]
        if self._rule is not None:
            self._scores.append(self._rule.scores(examples))

    def found(self) -> tuple[Baseline, ...]:
        """Return what each rule reached: mean average precision."""
        presence = np.stack(self._presence)
        alike = _mean_ap(np.zeros(presence.shape), presence)
        common = Baseline(
            name="prevalence",
            how="no order at all: the average precision is how common a label is",
            value=alike,
        )
        if self._rule is None:
            return (common,)
        coloured = Baseline(
            name="colour histogram",
            how="a logistic regression a label on an 8x8x8 RGB histogram of the picture",
            value=_mean_ap(np.concatenate(self._scores), presence),
        )
        return (common, coloured)


def learn_label_rules(train: Examples, *, most: int, seed: int, batch_size: int) -> LabelRules:
    """Learn the rules from at most `most` training examples."""
    histograms: list[Floats] = []
    presence: list[NDArray[np.uint8]] = []
    for example in sampled(train, most=most, seed=seed, batch_size=batch_size):
        histograms.append(histogram(example.image))
        presence.append(example.target)
    if not histograms:
        return LabelRules(None)
    return LabelRules(HistogramRule(np.stack(histograms), np.stack(presence)))


def _fitted(histograms: Floats, shown: NDArray[np.uint8]) -> "LogisticRegression | float":
    """Return a regression on the examples of which a label is known, or its share of them."""
    known = shown != IGNORE_ID
    positive = shown[known] == 1
    if not positive.any() or positive.all():
        return float(positive.mean()) if known.any() else 0.0
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, max_iter=500)
    with catch_warnings():  # a rule of thumb need not be optimal to the last digit
        simplefilter("ignore", ConvergenceWarning)
        return model.fit(histograms[known], positive)


def _mean_ap(scores: Floats, presence: NDArray[np.uint8]) -> float | None:
    return tidy(mean_present(average_precision_per_label(scores, presence)))
