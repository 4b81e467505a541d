"""The same counts as others define the figures, so that scores are compared like with like.

Ours: background is no class of the means, and its pixels count. Others count it as a class, or
leave every pixel out whose truth is background.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.inference import CountedMasks
from wsi_vit.evaluation.intervals import Metric, PatientDraws
from wsi_vit.evaluation.records import Definition, DefinitionName, Score
from wsi_vit.evaluation.tables import column, scored, scores_of
from wsi_vit.labels import LabelMap
from wsi_vit.metrics import (
    accuracy,
    iou_per_class,
    leave_out_truth,
    mean_over_classes,
    sensitivity_per_class,
)

_HOW: dict[DefinitionName, str] = {
    "ours": "background is no class of the means; its pixels count",
    "background as a class": "background is a class of the means like any other",
    "true background pixels left out": (
        "no pixel counts whose truth is background, so painting over background costs nothing"
    ),
}


def definitions_of(
    masks: CountedMasks, labels: LabelMap, draws: PatientDraws | None
) -> tuple[Definition, ...]:
    """Return our figures and those of other definitions; nothing where no other differs.

    `ours` comes first, and each other definition follows where one of its figures is another. A
    label map without a background leaves nothing to define.
    """
    background = labels.background_id
    if background is None:
        return ()
    ours = _defined("ours", masks, labels, draws, background=background)
    others = [
        definition
        for definition in _others(masks, labels, draws, background)
        if _figures(definition, labels) != _figures(ours, labels)
    ]
    return (ours, *others) if others else ()


def _others(
    masks: CountedMasks, labels: LabelMap, draws: PatientDraws | None, background: int
) -> Iterator[Definition]:
    yield _defined("background as a class", masks, labels, draws, background=None)
    kept = CountedMasks(names=masks.names, counts=leave_out_truth(masks.counts, background))
    yield _defined("true background pixels left out", kept, labels, draws, background=None)


def _defined(
    name: DefinitionName,
    masks: CountedMasks,
    labels: LabelMap,
    draws: PatientDraws | None,
    *,
    background: int | None,
) -> Definition:
    def mean(metric: Metric) -> Metric:
        return lambda counts: mean_over_classes(metric(counts), background)

    metrics: dict[str, Metric] = {
        "mean_accuracy": mean(sensitivity_per_class),
        "mean_iou": mean(iou_per_class),
        "pixel_accuracy": accuracy,
        "iou": iou_per_class,
    }
    whole = masks.counts.sum(axis=0)
    drawn = draws.of_counts(masks.counts, masks.names.patients, metrics) if draws else {}
    values: dict[str, NDArray[np.float64]] = {key: of(whole) for key, of in metrics.items()}
    ious = column(values.pop("iou"), drawn.get("iou"))
    return Definition(
        name=name,
        how=_HOW[name],
        scores=tuple(scored(key, value, drawn.get(key)) for key, value in values.items()),
        classes=scores_of(labels.names, ious),
    )


def _figures(definition: Definition, labels: LabelMap) -> list[float | None]:
    """Return what is compared; the background's own figure is no claim of ours."""
    classes: list[Score] = [
        score for score in definition.classes if score.name != labels.background
    ]
    return [score.value for score in (*definition.scores, *classes)]
