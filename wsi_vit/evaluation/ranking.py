"""How well scores rank: the area under the ROC curve, one class against the rest.

The area is the share of (positive, negative) pairs that the score puts in the right order, a tie
counting half (Mann & Whitney 1947; Hanley & McNeil 1982). Counted in pairs it is exact, and it
splits into pairs of patients, which is what makes its bootstrap cheap: see `pairs_won`.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve of scores (n,); NaN where one side is empty."""
    positives = int(positive.sum())
    pairs = positives * (positive.size - positives)
    if not pairs:
        return float("nan")
    won = _mid_ranks(scores)[positive].sum() - positives * (positives + 1) / 2
    return float(won / pairs)


def auroc_per_class(scores: NDArray[np.floating], truth: NDArray[np.integer]) -> Floats:
    """Return each class's area against the rest, shape (classes,).

    `scores` is (n, classes), `truth` (n,) training ids; NaN for a class that all or none have.
    """
    return np.array([auroc(scores[:, k], truth == k) for k in range(scores.shape[1])])


def roc_curve(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], *, points: int = 101
) -> tuple[Floats, Floats]:
    """Return false and true positive rates of falling thresholds, at most `points` + 2 of them.

    Empty where one side is empty. The corners (0, 0) and (1, 1) are always among them.
    """
    if positive.all() or not positive.any():
        return np.empty(0), np.empty(0)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(positive[order])[ends] / positive.sum()
    alarms = np.cumsum(~positive[order])[ends] / (~positive).sum()
    hits, alarms = np.insert(hits, 0, 0.0), np.insert(alarms, 0, 0.0)
    kept = np.unique(np.linspace(0, hits.size - 1, min(points, hits.size)).round().astype(int))
    return alarms[kept], hits[kept]


def pairs_won(
    scores: NDArray[np.floating],
    positive: NDArray[np.bool_],
    owner: NDArray[np.integer],
    owners: int,
) -> Floats:
    """Count, for each two patients, the pairs won: positives of one against negatives of the other.

    `owner` (n,) numbers each item's patient in 0..owners-1. Entry [p, q] of the (owners, owners)
    result is the number of pairs of a positive of p and a negative of q that are in the right
    order, plus half the ties. With weights w a patient, the weighted area is
    (w·M·w) / ((w·positives)(w·negatives)), exact, whatever the number of tiles.
    """
    won = np.zeros((owners, owners))
    up, holder = _sorted(scores[positive], owner[positive])
    down, loser = _sorted(scores[~positive], owner[~positive])
    for q in np.unique(loser):
        beaten = down[loser == q]
        twice = np.searchsorted(beaten, up, "left") + np.searchsorted(beaten, up, "right")
        won[:, q] = np.bincount(holder, weights=twice / 2, minlength=owners)
    return won


def _sorted(
    scores: NDArray[np.floating], owner: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    order = np.argsort(scores, kind="stable")
    return scores[order], owner[order]


def _mid_ranks(scores: NDArray[np.floating]) -> Floats:
    """Return ranks from 1; ties share the mean of theirs."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
