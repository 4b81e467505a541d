"""What is true of several labels, and what was said, for tiles, slides and patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.inference import ScoredLabels
from wsi_vit.labels import IGNORE_ID
from wsi_vit.metrics import Scores, dice_per_class, mean_present, sensitivity_per_class

Floats = NDArray[np.float64]

Tables = NDArray[np.int64]
"""For each label how often it is absent or present, and called so: (..., labels, 2, 2), indexed
[truth, prediction]; what is not known counts nowhere."""

_MOST_POINTS, _LEAST_POINTS, _CELLS = 1000, 200, 500_000
"""Thresholds at which resampled rankings are looked at: a thousand, or all scores where there are
fewer; of very many patients fewer, since the time grows with both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Scored items of one level."""

    presence: NDArray[np.uint8]
    """1 present, 0 absent, 255 not known; shape (n, labels)."""
    scores: Floats
    """Shape (n, labels)."""
    patients: tuple[str, ...]
    thresholds: tuple[float, ...]

    @property
    def called(self) -> NDArray[np.bool_]:
        """What is called present, (n, labels)."""
        return self.scores >= np.asarray(self.thresholds)

    @property
    def tables(self) -> Tables:
        """The table of each item, (n, labels, 2, 2)."""
        known = self.presence != IGNORE_ID
        tables = np.zeros((*self.presence.shape, 2, 2), np.int64)
        places = np.nonzero(known)
        tables[(*places, self.presence[known], self.called[known].astype(np.int64))] = 1
        return tables

    @property
    def matches(self) -> Floats:
        """1 where every label that is known was called right, 0 where not, (n,)."""
        known = self.presence != IGNORE_ID
        wrong = ((self.presence == 1) != self.called) & known
        return np.where(known.any(axis=1), ~wrong.any(axis=1), np.nan).astype(np.float64)


def per_tile(found: ScoredLabels) -> Labelled:
    """Return the examples themselves."""
    return Labelled(
        presence=found.presence,
        scores=found.scores.astype(np.float64),
        patients=found.names.patients,
        thresholds=found.thresholds,
    )


def per_group(found: ScoredLabels, groups: Sequence[str]) -> Labelled:
    """Return one item a slide or a patient, in the order of their names.

    A label is present where any of its tiles shows it, and not known where none does and one might;
    its score is the highest of its tiles.
    """
    _, first, inverse = np.unique(
        np.asarray(groups, dtype=str), return_index=True, return_inverse=True
    )
    shape = (len(first), found.presence.shape[1])
    scores, shown, unknown = np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool)
    np.maximum.at(scores, inverse, found.scores.astype(np.float64))
    np.logical_or.at(shown, inverse, found.presence == 1)
    np.logical_or.at(unknown, inverse, found.presence == IGNORE_ID)
    return Labelled(
        presence=np.where(shown, 1, np.where(unknown, IGNORE_ID, 0)).astype(np.uint8),
        scores=scores,
        patients=tuple(found.names.patients[i] for i in first),
        thresholds=found.thresholds,
    )


def f1(tables: Tables) -> Scores:
    """Return F1 of calling each label present, (..., labels); NaN where it never is nor is called.

    `tables` is (..., labels, 2, 2).
    """
    return dice_per_class(tables)[..., 1]


def macro_f1(tables: Tables) -> Scores:
    """Return the mean F1 over labels, shape (...)."""
    return mean_present(f1(tables))


def recall(tables: Tables) -> Scores:
    """Return the share of what shows each label that is called so."""
    return sensitivity_per_class(tables)[..., 1]


def precision(tables: Tables) -> Scores:
    """Return the share of what is called each label that shows it; NaN where nothing is."""
    return sensitivity_per_class(np.swapaxes(tables, -1, -2))[..., 1]


def prevalence(tables: Tables) -> Scores:
    """Return the share of what is known of each label that shows it."""
    truth = np.asarray(tables).sum(axis=-1)
    total = truth.sum(axis=-1).astype(np.float64)
    return np.divide(truth[..., 1], total, out=np.full(total.shape, np.nan), where=total > 0)


def counts_by_patient(
    scores: Floats, positive: NDArray[np.bool_], patients: Sequence[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """Return patients, and their negatives and positives of each score, (patients, scores, 2).

    The highest score comes first. Where there are more scores than points to look at, neighbours
    are counted together, as if no threshold told them apart.

    Args:
        scores: (n,).
        positive: (n,).
        patients: (n,); each comes out once.
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    known, place = np.unique(scores, return_inverse=True)
    most = min(_MOST_POINTS, max(_LEAST_POINTS, _CELLS // max(len(names), 1)))
    points = min(len(known), most)
    place = points - 1 - place * points // max(len(known), 1)
    counts = np.zeros((len(names), points, 2), np.int64)
    np.add.at(counts, (owner, place, positive.astype(np.int64)), 1)
    return names.tolist(), counts


def recall_curve(
    scores: Floats, positive: NDArray[np.bool_], *, points: int = 101
) -> tuple[Floats, Floats]:
    """Return recall and precision of falling thresholds, about `points` of them.

    Empty without a positive. Recall begins at what the highest score finds.
    """
    if not positive.any():
        return np.empty(0), np.empty(0)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(positive[order])[ends]
    kept = np.unique(np.linspace(0, len(ends) - 1, min(points, len(ends))).round().astype(int))
    return (hits / positive.sum())[kept], (hits / (ends + 1))[kept]
