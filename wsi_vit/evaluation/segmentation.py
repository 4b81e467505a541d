"""Figures of a segmenter, from every example's pixel counts."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.baselines import PixelColourRule, constant_counts, learn_pixel_rule
from wsi_vit.evaluation.definitions import definitions_of
from wsi_vit.evaluation.findings import Findings, MeasuredSet, SplitName, draws_for
from wsi_vit.evaluation.inference import CountedMasks, count_masks
from wsi_vit.evaluation.intervals import Metric, PatientDraws
from wsi_vit.evaluation.records import (
    Baseline,
    ClassScores,
    GroupScore,
    Level,
    table_of,
    tidy,
)
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.tables import class_rows, column, scored
from wsi_vit.labels import LabelMap
from wsi_vit.metrics import (
    accuracy,
    dice_per_class,
    iou_per_class,
    mean_iou,
    mean_over_classes,
    mean_present,
    sensitivity_per_class,
)
from wsi_vit.models.model import Model

HEADLINE = "mean_iou"

_OF_CLASS_COUNTS: dict[str, Metric] = {
    "iou": iou_per_class,
    "dice": dice_per_class,
    "accuracy": sensitivity_per_class,
}


def measure_masks(
    model: Model, dataset: MeasuredSet, split: SplitName, section: EvaluationSection
) -> Findings:
    """Measure a segmenter on one split.

    Raises:
        ModelError: Its scores are not finite, or not of the dataset's classes.
        DatasetError: The split holds no labelled pixel.
    """
    labels = dataset.labels
    rule = learn_pixel_rule(
        dataset.examples("train"),
        classes=len(labels),
        most=section.baseline_examples,
        seed=section.seed,
        batch_size=section.batch_size,
    )
    masks = count_masks(model, dataset.examples(split), batch_size=section.batch_size, observe=rule)
    draws = draws_for(masks.names.patients, dataset, section)
    return Findings(
        found=masks,
        headline=HEADLINE,
        levels=(
            pixel_level(masks, labels, draws),
            group_level(masks, labels, "slide", draws),
            group_level(masks, labels, "patient", draws),
        ),
        classes=classes_of(masks, labels, draws),
        definitions=definitions_of(masks, labels, draws),
        per_slide=groups_of(masks, labels, masks.names.slides),
        per_patient=groups_of(masks, labels, masks.names.patients),
        baselines=_baselines(masks, labels, rule),
    )


def _baselines(
    masks: CountedMasks, labels: LabelMap, rule: PixelColourRule | None
) -> tuple[Baseline, ...]:
    constants = mean_iou(constant_counts(masks.counts.sum(axis=0)), labels.background_id)
    best = int(np.nan_to_num(constants, nan=-1.0).argmax())
    one_class = Baseline(
        name=f"all {labels.names[best]}",
        how="every pixel the same class; the best such class on these very examples",
        value=tidy(constants[best]),
    )
    if rule is None:
        return (one_class,)
    reached = tidy(mean_iou(rule.counts, labels.background_id))
    return (one_class, Baseline(name=rule.name, how=rule.how, value=reached))


def metrics_for(labels: LabelMap) -> dict[str, Metric]:
    """Return the summary metrics; those over classes leave the background out where one is named.

    A class's accuracy is the share of its pixels that were found, as segmentation papers say it.
    """
    background = labels.background_id

    def over_classes(metric: Metric) -> Metric:
        return lambda counts: mean_over_classes(metric(counts), background)

    return {
        "mean_iou": lambda counts: mean_iou(counts, background),
        "mean_dice": over_classes(dice_per_class),
        "mean_accuracy": over_classes(sensitivity_per_class),
        "pixel_accuracy": accuracy,
    }


def pixel_level(masks: CountedMasks, labels: LabelMap, draws: PatientDraws | None) -> Level:
    """Return the figures over all pixels of all tiles together."""
    whole, metrics = masks.counts.sum(axis=0), metrics_for(labels)
    drawn = draws.of_counts(masks.counts, masks.names.patients, metrics) if draws else {}
    return Level(
        level="tile",
        items=len(masks.names),
        how="all pixels counted together",
        scores=tuple(scored(name, of(whole), drawn.get(name)) for name, of in metrics.items()),
        counts=table_of(whole),
    )


def group_level(
    masks: CountedMasks,
    labels: LabelMap,
    level: Literal["slide", "patient"],
    draws: PatientDraws | None,
) -> Level:
    """Return the mean over slides or patients of the figures within each."""
    groups = masks.names.slides if level == "slide" else masks.names.patients
    _, first, tables = _grouped(masks, groups)
    patients = [masks.names.patients[i] for i in first]
    scores = []
    for name, metric in metrics_for(labels).items():
        values = metric(tables)
        samples = draws.of_means(values, patients) if draws else None
        scores.append(scored(name, mean_present(values), samples))
    how = "the mean of the figure within each"
    return Level(level=level, items=len(tables), how=how, scores=tuple(scores))


def classes_of(
    masks: CountedMasks, labels: LabelMap, draws: PatientDraws | None
) -> tuple[ClassScores, ...]:
    """Return IoU, Dice and accuracy a class over all pixels, in training-id order."""
    whole = masks.counts.sum(axis=0)
    drawn = draws.of_counts(masks.counts, masks.names.patients, _OF_CLASS_COUNTS) if draws else {}
    columns = {name: column(of(whole), drawn.get(name)) for name, of in _OF_CLASS_COUNTS.items()}
    return class_rows(labels, whole.sum(axis=1), columns)


def groups_of(
    masks: CountedMasks, labels: LabelMap, groups: Sequence[str]
) -> tuple[GroupScore, ...]:
    """Return the mean IoU within each slide or patient, by name."""
    names, _, tables = _grouped(masks, groups)
    values = mean_iou(tables, labels.background_id)
    sizes = np.unique(np.asarray(groups, dtype=str), return_counts=True)[1]
    return tuple(
        GroupScore(name=str(name), items=int(size), value=tidy(value))
        for name, size, value in zip(names, sizes, values, strict=True)
    )


def _grouped(
    masks: CountedMasks, groups: Sequence[str]
) -> tuple[NDArray[np.str_], NDArray[np.intp], NDArray[np.int64]]:
    """Return names, first positions and summed counts a group, by name."""
    names, first, inverse = np.unique(
        np.asarray(groups, dtype=str), return_index=True, return_inverse=True
    )
    tables = np.zeros((len(names), *masks.counts.shape[1:]), dtype=np.int64)
    np.add.at(tables, inverse, masks.counts)
    return names, first, tables
