"""Figures of a model of several labels an image, from every example's scores."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.findings import Findings, MeasuredSet, SplitName, draws_for
from wsi_vit.evaluation.inference import ScoredLabels, score_labels
from wsi_vit.evaluation.intervals import Metric, PatientDraws
from wsi_vit.evaluation.multi_label.baselines import learn_label_rules
from wsi_vit.evaluation.multi_label.items import (
    Floats,
    Labelled,
    counts_by_patient,
    f1,
    macro_f1,
    per_group,
    per_tile,
    precision,
    prevalence,
    recall,
    recall_curve,
)
from wsi_vit.evaluation.ranking import auroc, roc_curve
from wsi_vit.evaluation.records import (
    THRESHOLD,
    ClassScores,
    Curve,
    GroupScore,
    Level,
    RecallCurve,
    Score,
    tidy,
)
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.tables import class_rows, column, scored
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.metrics import average_precision, average_precision_per_label, mean_present
from wsi_vit.models.model import Model

HEADLINE = "mean_ap"

_OF_COUNTS: dict[str, Metric] = {
    "prevalence": prevalence,
    "f1": f1,
    "precision": precision,
    "recall": recall,
}
_ANY_TILE = (
    "a label is there where any tile shows it; its score is the highest of the tiles, which the "
    "tiles' own thresholds judge"
)


def measure_labels(
    model: Model, dataset: MeasuredSet, split: SplitName, section: EvaluationSection
) -> Findings:
    """Measure a model of several labels an image on one split.

    Raises:
        ModelError: Its scores are not finite, or not of the dataset's labels.
        DatasetError: The split knows of no label.
    """
    rules = learn_label_rules(
        dataset.examples("train"),
        most=section.baseline_examples,
        seed=section.seed,
        batch_size=section.batch_size,
    )
    found = score_labels(
        model, dataset.examples(split), batch_size=section.batch_size, observe=rules
    )
    draws = draws_for(found.names.patients, dataset, section)
    alone, names = per_tile(found), found.names
    return Findings(
        found=found,
        headline=HEADLINE,
        levels=(
            level_of(alone, "tile", draws),
            level_of(per_group(found, names.slides), "slide", draws),
            level_of(per_group(found, names.patients), "patient", draws),
        ),
        classes=labels_of(alone, dataset.labels, draws),
        per_slide=groups_of(found, names.slides),
        per_patient=groups_of(found, names.patients),
        baselines=rules.found(),
        roc=roc_of(alone, dataset.labels),
        precision_recall=curves_of(alone, dataset.labels),
        notes=tuple(_untold(alone, dataset.labels)),
    )


def level_of(
    items: Labelled, level: Literal["tile", "slide", "patient"], draws: PatientDraws | None
) -> Level:
    """Return the figures of one level, with intervals where there are draws."""
    precisions, areas = _rankings(items, draws)
    tables, matches = items.tables, items.matches
    drawn = draws.of_counts(tables, items.patients, {"f1": macro_f1}) if draws else {}
    matched = draws.of_means(matches, items.patients) if draws else None
    return Level(
        level=level,
        items=len(matches),
        how="each by itself" if level == "tile" else _ANY_TILE,
        scores=(
            _mean("mean_ap", *precisions),
            _mean("macro_auroc", *areas),
            scored("macro_f1", macro_f1(tables.sum(axis=0)), drawn.get("f1")),
            scored("exact_match", mean_present(matches), matched),
        ),
    )


def labels_of(
    items: Labelled, labels: LabelMap, draws: PatientDraws | None
) -> tuple[ClassScores, ...]:
    """Return the figures of each label, its threshold last, in training-id order."""
    whole = items.tables.sum(axis=0)
    drawn = draws.of_counts(items.tables, items.patients, _OF_COUNTS) if draws else {}
    precisions, areas = _rankings(items, draws)
    counted = {name: column(of(whole), drawn.get(name)) for name, of in _OF_COUNTS.items()}
    columns = {
        "ap": column(*precisions),
        "prevalence": counted.pop("prevalence"),
        "auroc": column(*areas),
        **counted,
        THRESHOLD: column(np.asarray(items.thresholds), None),
    }
    return class_rows(labels, whole[:, 1].sum(axis=1), columns)


def curves_of(items: Labelled, labels: LabelMap) -> tuple[RecallCurve, ...]:
    """Return the precision-recall curve of every label that has a positive."""
    whole = items.tables.sum(axis=0)
    at = np.stack([recall(whole), precision(whole)], axis=1).round(6)
    curves = [(name, recall_curve(*_known(items, k)), at[k]) for k, name in enumerate(labels.names)]
    return tuple(
        RecallCurve(
            name=name,
            recall=tuple(np.round(found, 6).tolist()),
            precision=tuple(np.round(right, 6).tolist()),
            at=None if np.isnan(point).any() else tuple(point.tolist()),
        )
        for name, (found, right), point in curves
        if found.size
    )


def roc_of(items: Labelled, labels: LabelMap) -> tuple[Curve, ...]:
    """Return the ROC curve of every label that has positives and negatives."""
    curves = [(name, *roc_curve(*_known(items, k))) for k, name in enumerate(labels.names)]
    return tuple(
        Curve(
            name=name,
            false_positive_rate=tuple(np.round(alarms, 6).tolist()),
            true_positive_rate=tuple(np.round(hits, 6).tolist()),
        )
        for name, alarms, hits in curves
        if alarms.size
    )


def groups_of(found: ScoredLabels, groups: Sequence[str]) -> tuple[GroupScore, ...]:
    """Return the mean average precision within each slide or patient, by name."""
    names, inverse = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    rows = [np.flatnonzero(inverse == k) for k in range(len(names))]
    return tuple(
        GroupScore(
            name=str(name),
            items=len(mine),
            value=tidy(
                mean_present(average_precision_per_label(found.scores[mine], found.presence[mine]))
            ),
        )
        for name, mine in zip(names, rows, strict=True)
    )


def _rankings(
    items: Labelled, draws: PatientDraws | None
) -> tuple[tuple[Floats, Floats | None], tuple[Floats, Floats | None]]:
    """Return average precision and AUROC of each label, each with those of the resamples."""
    columns = [_known(items, k) for k in range(items.presence.shape[1])]
    precisions = average_precision_per_label(items.scores, items.presence)
    areas = np.array([auroc(*known) for known in columns])
    if draws is None:
        return (precisions, None), (areas, None)
    drawn = [_drawn(items, k, draws) for k in range(len(columns))]
    aps, aurocs = (np.stack(part, axis=1) for part in zip(*drawn, strict=True))
    return (precisions, aps), (areas, aurocs)


def _drawn(items: Labelled, k: int, draws: PatientDraws) -> tuple[Floats, Floats]:
    """Return average precision and AUROC of one label in each resample, (resamples,)."""
    told = np.flatnonzero(items.presence[:, k] != IGNORE_ID)
    if not told.size:
        nothing = np.full(draws.resamples, np.nan)
        return nothing, nothing
    patients = [items.patients[i] for i in told]
    scores, positive = _known(items, k)
    names, counts = counts_by_patient(scores, positive, patients)
    found = draws.of_counts(counts, names, {"ap": average_precision})
    return found["ap"], draws.of_ranking(scores, positive, patients)


def _known(items: Labelled, k: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the scores of one label, and whether it is present, where that is known."""
    told = items.presence[:, k] != IGNORE_ID
    return items.scores[told, k], items.presence[told, k] == 1


def _mean(name: str, values: Floats, samples: Floats | None) -> Score:
    return scored(name, mean_present(values), None if samples is None else mean_present(samples))


def _untold(items: Labelled, labels: LabelMap) -> Sequence[str]:
    """Return what must be said of labels that every example shows."""
    shown = items.presence
    always = [
        name
        for k, name in enumerate(labels.names)
        if (shown[:, k] == 1).any() and not (shown[:, k] == 0).any()
    ]
    if not always:
        return []
    return [f"Shown by every example, so that nothing is to be told: {', '.join(always)}"]
