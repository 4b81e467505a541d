"""Figures of a classifier, from every tile's scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.baselines import TileRules, learn_tile_rules
from wsi_vit.evaluation.calibration import calibrate
from wsi_vit.evaluation.findings import Findings, MeasuredSet, SplitName, draws_for
from wsi_vit.evaluation.inference import ScoredTiles, score_tiles
from wsi_vit.evaluation.intervals import Metric, PatientDraws
from wsi_vit.evaluation.ranking import auroc_per_class, roc_curve
from wsi_vit.evaluation.records import (
    Baseline,
    ClassScores,
    Curve,
    GroupScore,
    Level,
    table_of,
    tidy,
)
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.tables import class_rows, column, count_by, scored
from wsi_vit.labels import LabelMap
from wsi_vit.metrics import (
    accuracy,
    balanced_accuracy,
    cohen_kappa,
    dice_per_class,
    macro_f1,
    mean_present,
    sensitivity_per_class,
    specificity_per_class,
)
from wsi_vit.models.model import Model

HEADLINE = "macro_f1"

_OF_COUNTS: dict[str, Metric] = {
    "macro_f1": macro_f1,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "cohen_kappa": cohen_kappa,
}
_OF_CLASS_COUNTS: dict[str, Metric] = {
    "f1": dice_per_class,
    "sensitivity": sensitivity_per_class,
    "specificity": specificity_per_class,
}
_HOW: dict[str, str] = {
    "tile": "each by itself",
    "slide": "the mean of the scores within each against its commonest true class",
    "patient": "the mean of the scores within each against its commonest true class",
}


_PURE_FROM = 0.9


def measure_tiles(
    model: Model, dataset: MeasuredSet, split: SplitName, section: EvaluationSection
) -> Findings:
    """Measure a classifier on one split.

    Raises:
        ModelError: Its scores are not finite, or not of the dataset's classes.
        DatasetError: The split holds no labelled example.
    """
    classes = len(dataset.labels)
    learnt = learn_tile_rules(
        dataset.examples("train"),
        classes=classes,
        most=section.baseline_examples,
        seed=section.seed,
        batch_size=section.batch_size,
    )
    rules = TileRules(learnt, classes)
    tiles = score_tiles(
        model, dataset.examples(split), batch_size=section.batch_size, observe=rules
    )
    draws = draws_for(tiles.names.patients, dataset, section)
    alone = per_tile(tiles)
    slides, patients = (
        per_group(tiles, groups) for groups in (tiles.names.slides, tiles.names.patients)
    )
    return Findings(
        found=tiles,
        headline=HEADLINE,
        levels=(
            level_of(alone, "tile", draws),
            level_of(slides, "slide", draws),
            level_of(patients, "patient", draws),
        ),
        classes=classes_of(alone, dataset.labels, draws),
        per_slide=groups_of(tiles, tiles.names.slides),
        per_patient=groups_of(tiles, tiles.names.patients),
        baselines=tuple(
            Baseline(name=rule.name, how=rule.how, value=tidy(macro_f1(counts)))
            for rule, counts in zip(rules.rules, rules.counts, strict=True)
        ),
        calibration=calibrate(alone.scores, alone.truth),
        roc=curves_of(alone, dataset.labels),
        notes=_mixed(slides),
    )


def _mixed(slides: "Scored") -> tuple[str, ...]:
    if slides.purity >= _PURE_FROM:
        return ()
    return (
        "Slides hold several classes (the commonest covers "
        f"{slides.purity:.0%} of a slide's labelled tiles on average): slide and patient figures "
        "compare with the commonest class only and say little here",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Scored items of one level: tiles, slides or patients."""

    truth: NDArray[np.int64]
    scores: NDArray[np.float64]
    """Shape (n, classes)."""
    patients: tuple[str, ...]
    purity: float = 1.0
    """The mean share of an item's tiles that are of its commonest class."""

    @property
    def prediction(self) -> NDArray[np.int64]:
        """The class of the highest score, shape (n,); a tie goes to the lower id."""
        return self.scores.argmax(axis=1)

    def counted_by(self, groups: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return the names of groups of items and their confusion counts."""
        return count_by(groups, self.truth, self.prediction, self.scores.shape[1])


def per_tile(tiles: ScoredTiles) -> Scored:
    """Return the tiles themselves."""
    return Scored(
        truth=tiles.truth, scores=tiles.scores.astype(np.float64), patients=tiles.names.patients
    )


def per_group(tiles: ScoredTiles, groups: Sequence[str]) -> Scored:
    """Return one item a group: mean scores, commonest truth (the lower id in a tie).

    `groups` (n,) names each tile's slide or patient; groups come out in the order of their names.
    A group belongs to the patient of its first tile.
    """
    _, first, inverse, sizes = np.unique(
        np.asarray(groups, dtype=str), return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((sizes.size, tiles.scores.shape[1]))
    np.add.at(sums, inverse, tiles.scores.astype(np.float64))
    votes = np.zeros(sums.shape, dtype=np.int64)
    np.add.at(votes, (inverse, tiles.truth), 1)
    return Scored(
        truth=votes.argmax(axis=1),
        scores=sums / sizes[:, None],
        patients=tuple(tiles.names.patients[i] for i in first),
        purity=float((votes.max(axis=1) / sizes).mean()),
    )


def level_of(
    items: Scored, level: Literal["tile", "slide", "patient"], draws: PatientDraws | None
) -> Level:
    """Return the figures of one level, with intervals where there are draws."""
    patients, tables = items.counted_by(items.patients)
    counts = tables.sum(axis=0)
    drawn = draws.of_counts(tables, patients, _OF_COUNTS) if draws else {}
    scores = [scored(name, of(counts), drawn.get(name)) for name, of in _OF_COUNTS.items()]
    areas = draws.of_auroc(items.scores, items.truth, items.patients) if draws else None
    auroc = mean_present(auroc_per_class(items.scores, items.truth))
    scores.append(scored("macro_auroc", auroc, None if areas is None else mean_present(areas)))
    return Level(
        level=level,
        items=len(items.truth),
        how=_HOW[level],
        scores=tuple(scores),
        counts=table_of(counts),
    )


def classes_of(
    items: Scored, labels: LabelMap, draws: PatientDraws | None
) -> tuple[ClassScores, ...]:
    """Return F1, sensitivity, specificity and AUROC a class, in training-id order."""
    patients, tables = items.counted_by(items.patients)
    counts = tables.sum(axis=0)
    drawn = draws.of_counts(tables, patients, _OF_CLASS_COUNTS) if draws else {}
    columns = {name: column(of(counts), drawn.get(name)) for name, of in _OF_CLASS_COUNTS.items()}
    areas = draws.of_auroc(items.scores, items.truth, items.patients) if draws else None
    columns["auroc"] = column(auroc_per_class(items.scores, items.truth), areas)
    return class_rows(labels, counts.sum(axis=1), columns)


def curves_of(items: Scored, labels: LabelMap) -> tuple[Curve, ...]:
    """Return the ROC curve of every class that has positives and negatives."""
    curves = (
        (name, *roc_curve(items.scores[:, k], items.truth == k))
        for k, name in enumerate(labels.names)
    )
    return tuple(
        Curve(
            name=name,
            false_positive_rate=tuple(np.round(alarms, 6).tolist()),
            true_positive_rate=tuple(np.round(hits, 6).tolist()),
        )
        for name, alarms, hits in curves
        if alarms.size
    )


def groups_of(tiles: ScoredTiles, groups: Sequence[str]) -> tuple[GroupScore, ...]:
    """Return the tile macro-F1 within each slide or patient, by name."""
    names, tables = per_tile(tiles).counted_by(groups)
    values = macro_f1(tables)
    sizes = tables.sum(axis=(1, 2))
    return tuple(
        GroupScore(name=name, items=int(size), value=tidy(value))
        for name, size, value in zip(names, sizes, values, strict=True)
    )
