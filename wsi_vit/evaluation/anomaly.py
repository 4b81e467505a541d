"""How well a run's model would notice what it does not know: fit the score, judge it, keep it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.evaluation.findings import MeasuredSet, SplitName, draws_for
from wsi_vit.evaluation.inference import SplitExamples, decoded_ahead
from wsi_vit.evaluation.intervals import PatientDraws
from wsi_vit.evaluation.ranking import auroc_per_class
from wsi_vit.evaluation.records import AnomalyFound
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.tables import column, scored, scores_of
from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.anomaly.scorer import AnomalyScorer, Known, fit_scorer
from wsi_vit.models.anomaly.section import AnomalySection
from wsi_vit.models.model import Model

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Chosen:
    """Some examples of a split, drawn at random, in the split's order."""

    examples: SplitExamples
    places: NDArray[np.intp]

    @property
    def patients(self) -> tuple[str, ...]:
        names = self.examples.patients
        return tuple(str(names[int(place)]) for place in self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, indices: Any) -> Any:
        return self.examples.__getitems__([int(self.places[index]) for index in indices])


def measure_anomaly(
    model: Model,
    dataset: MeasuredSet,
    *,
    split: SplitName,
    anomaly: AnomalySection,
    section: EvaluationSection,
) -> tuple[AnomalyScorer, AnomalyFound]:
    """Fit an anomaly score on the training split, and judge it on another.

    Of each split at most `anomaly.examples` labelled examples take part. A model that averages
    over views is asked for the upright one alone.

    Raises:
        ModelError: There are too few training examples.
    """
    train = _known(model, _drawn(dataset.examples("train"), anomaly, section), section)
    test = _known(model, _drawn(dataset.examples(split), anomaly, section), section)
    scorer = fit_scorer(train, anomaly, seed=section.seed)
    draws = draws_for(test.patients, dataset, section)
    beyond = (scorer.scores(test.features) > scorer.limit).astype(np.float64)
    drawn = draws.of_means(beyond, test.patients) if draws else None
    share = scored("beyond_limit", beyond.mean(), drawn)
    unseen = _without_each(train, test, scorer, classes=len(dataset.labels))
    found = AnomalyFound(
        score=anomaly.score,
        limit=float(f"{scorer.limit:.6g}"),
        examples=len(train),
        beyond=share,
        unseen=scores_of(dataset.labels.names, column(*_ranked(unseen, test, draws))),
        classes_known=_knows_classes(model),
    )
    return replace(scorer, usual_share=share.value), found


def _drawn(examples: SplitExamples, anomaly: AnomalySection, section: EvaluationSection) -> _Chosen:
    order = np.random.default_rng(section.seed).permutation(len(examples))
    return _Chosen(examples, np.sort(order[: anomaly.examples]))


def _known(model: Model, chosen: _Chosen, section: EvaluationSection) -> Known:
    """Return what the head sees of examples, without those whose class is ignored."""
    classes: list[int] = []
    features: list[Tensor] = []
    for batch_classes, seen in _features(model, chosen, section.batch_size):
        classes += batch_classes
        features.append(seen)
    ids = np.array(classes, dtype=np.int64)
    width = features[0].shape[1] if features else 0
    every = Known(
        features=torch.cat([*features, torch.empty(0, width)]),
        classes=ids,
        patients=chosen.patients,
    )
    return every.only(ids != IGNORE_ID)


def _features(model: Any, chosen: _Chosen, batch_size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Yield class ids of batches, and what the head sees of them, on the CPU."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for batch, tensors in decoded_ahead(model, chosen, batch_size):
            seen = model.features(tensors["images"].to(device))
            yield [int(example.target) for example in batch], seen.cpu()
    finally:
        model.train(was_training)


def _without_each(train: Known, test: Known, scorer: AnomalyScorer, *, classes: int) -> Floats:
    """Return the test scores (n, classes) by scores that were fitted without each class."""
    columns = np.zeros((len(test), classes))
    for k in range(classes):
        others = train.only(train.classes != k)
        if len(np.unique(others.classes)) and len(others) < len(train):
            columns[:, k] = scorer.refitted(others).scores(test.features)
    return columns


def _ranked(
    scores: Floats, test: Known, draws: PatientDraws | None
) -> tuple[Floats, Floats | None]:
    """Return how well each class's examples rank above the others', and of each resample."""
    areas = auroc_per_class(scores, test.classes)
    told = scores.any(axis=0)
    drawn = draws.of_auroc(scores, test.classes, test.patients) if draws else None
    unknown = np.where(told, areas, np.nan)
    return unknown, None if drawn is None else np.where(told, drawn, np.nan)


def _knows_classes(model: Any) -> bool:
    """Say whether the network itself learnt from the classes: all but one whose head alone did."""
    return model.section.tuning != "head"
