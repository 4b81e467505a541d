"""Scores as ratios of counts: count once, merge anywhere, divide at the end.

Counts are int64 confusion tables indexed [truth, prediction]. A class that is neither in the truth
nor predicted is absent and scores NaN; a class that is always missed scores 0.
"""

import numpy as np
from numpy.typing import NDArray

from wsi_vit.labels import IGNORE_ID

Counts = NDArray[np.int64]
"""Confusion counts, shape (classes, classes), indexed [truth, prediction]."""

Scores = NDArray[np.float64]
"""One score a class, shape (..., classes); NaN where a class is absent."""

_BLOCK_PX = 1 << 18


def count_pairs(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], num_classes: int
) -> Counts:
    """Count each (truth, prediction) pair; ignored items (255) are left out.

    Both arrays have the same shape and hold training ids; the result is (classes, classes).

    Raises:
        ValueError: The shapes differ, or an id is neither a class nor, in the truth, ignored.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape}, prediction is {prediction.shape}")
    # One table of all byte pairs: a pass without a mask and without a product. bincount widens
    # its input to 64 bits, so it is fed blocks that stay in the cache (a third less time at
    # 2048 x 2048 px, the same below).
    table = np.zeros(65536, dtype=np.int64)
    flat_truth, flat_prediction = truth.ravel(), prediction.ravel()
    for start in range(0, flat_truth.size, _BLOCK_PX):
        pairs = flat_truth[start : start + _BLOCK_PX].astype(np.uint16) << 8
        pairs |= flat_prediction[start : start + _BLOCK_PX]
        table += np.bincount(pairs, minlength=65536)
    table = table.reshape(256, 256)
    stray = table.sum() - table[:num_classes, :num_classes].sum() - table[IGNORE_ID].sum()
    if stray:
        raise ValueError(f"{stray} pairs hold ids outside 0..{num_classes - 1}")
    return table[:num_classes, :num_classes].copy()


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> Scores:
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _parts(counts: Counts) -> tuple[Scores, Scores, Scores]:
    """Return true positives, truth totals and prediction totals a class, as floats."""
    table = np.asarray(counts, dtype=np.float64)
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    return hits, table.sum(axis=-1), table.sum(axis=-2)


def iou_per_class(counts: Counts) -> Scores:
    """Return intersection over union a class (Jaccard 1912): TP / (TP + FP + FN).

    `counts` is (..., classes, classes); NaN where a class is absent from truth and prediction.
    """
    hits, truth, prediction = _parts(counts)
    return _ratio(hits, truth + prediction - hits)


def dice_per_class(counts: Counts) -> Scores:
    """Return Dice a class, which is F1 (Dice 1945): 2 TP / (2 TP + FP + FN)."""
    hits, truth, prediction = _parts(counts)
    return _ratio(2 * hits, truth + prediction)


def sensitivity_per_class(counts: Counts) -> Scores:
    """Return the share of each class's truth that was found; NaN where the truth has none."""
    hits, truth, _ = _parts(counts)
    return _ratio(hits, truth)


def specificity_per_class(counts: Counts) -> Scores:
    """Return, a class, the share of all else that was not called it."""
    hits, truth, prediction = _parts(counts)
    total = np.asarray(counts).sum(axis=(-2, -1), dtype=np.float64)[..., None]
    return _ratio(total - truth - prediction + hits, total - truth)


def accuracy(counts: Counts) -> NDArray[np.float64]:
    """Return the share of counted items that were predicted right, shape (...)."""
    table = np.asarray(counts, dtype=np.float64)
    return _ratio(np.trace(table, axis1=-2, axis2=-1), table.sum(axis=(-2, -1)))


def balanced_accuracy(counts: Counts) -> NDArray[np.float64]:
    """Return the mean sensitivity over the classes that the truth holds, shape (...)."""
    return mean_present(sensitivity_per_class(counts))


def macro_f1(counts: Counts) -> NDArray[np.float64]:
    """Return the mean F1 over the classes in truth or prediction, shape (...)."""
    return mean_present(dice_per_class(counts))


def cohen_kappa(counts: Counts) -> NDArray[np.float64]:
    """Return agreement beyond chance (Cohen 1960): (po - pe) / (1 - pe); NaN where pe = 1."""
    _, truth, prediction = _parts(counts)
    total = truth.sum(axis=-1)
    expected = _ratio((truth * prediction).sum(axis=-1), total**2)
    return _ratio(accuracy(counts) - expected, 1 - expected)


def mean_iou(counts: Counts, background_id: int | None) -> NDArray[np.float64]:
    """Return the mean IoU over present classes, background left out where one is named."""
    return mean_over_classes(iou_per_class(counts), background_id)


def mean_over_classes(scores: Scores, background_id: int | None) -> NDArray[np.float64]:
    """Return the mean over present classes, background left out of it where one is named.

    `scores` is (..., classes), the result (...). With an id this is our definition: background is
    no class of the mean, yet its pixels count (n[b, k], truth background called k, is a false
    positive of k). Without one, background is a class of the mean like any other.
    """
    if background_id is not None:
        scores = np.delete(scores, background_id, axis=-1)
    return mean_present(scores)


def leave_out_truth(counts: Counts, class_id: int) -> Counts:
    """Return the counts without the items whose truth is one class: n[class, :] = 0.

    The metrics of the result are those of Hugging Face `evaluate`'s mean_iou with
    `ignore_index=class_id`, which drops these items from truth and prediction alike before it
    counts (huggingface/evaluate#421). With b the class left out and n the counts:

        IoU of k != b       n[k, k] / (sum_j n[k, j] + sum_(i != b) n[i, k] - n[k, k])
        IoU of b            0 / sum_(i != b) n[i, b]: 0 where anything was called b, else NaN
        accuracy of k != b  n[k, k] / sum_j n[k, j], as without it; of b NaN (0 / 0)
        overall accuracy    sum_(k != b) n[k, k] / sum_(i != b, j) n[i, j]

    and the means are over classes that are not NaN, so the mean IoU counts b as a class of IoU 0
    where anything was called b. What was called k where the truth is b costs nothing.
    """
    kept = counts.copy()
    kept[..., class_id, :] = 0
    return kept


def counts_by_score(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Counts:
    """Return how many negatives and positives have each score, the highest first: (scores, 2).

    Both arrays are (n,); those of one score are told apart by no threshold and counted together.
    """
    found, place = np.unique(scores, return_inverse=True)
    counts = np.zeros((len(found), 2), np.int64)
    np.add.at(counts, (place, positive.astype(np.int64)), 1)
    return counts[::-1]


def average_precision(counts: NDArray[np.number]) -> NDArray[np.float64]:
    """Return the average precision of falling thresholds, shape (...); NaN without a positive.

    The mean over positives of the precision at the threshold that first finds each: the sum over
    thresholds of (R_n - R_(n-1)) P_n, without interpolation (Salton & McGill 1983; as
    scikit-learn's `average_precision_score`). A ranking by chance has the share of positives.

    Args:
        counts: As `counts_by_score` gives them, (..., scores, 2).
    """
    table = np.asarray(counts, dtype=np.float64)
    hits, called = table[..., 1].cumsum(-1), table.sum(-1).cumsum(-1)
    precision = np.divide(hits, called, out=np.zeros(hits.shape), where=called > 0)
    return _ratio((precision * table[..., 1]).sum(-1), table[..., 1].sum(-1))


def average_precision_per_label(
    scores: NDArray[np.floating], presence: NDArray[np.uint8]
) -> Scores:
    """Return the average precision of each label over what is known of it, shape (labels,).

    Both arrays are (n, labels); presence is 1, 0, or 255 where it is not known. NaN for a label
    without a positive.
    """
    known = presence != IGNORE_ID
    columns = zip(scores.T, presence.T, known.T, strict=True)
    found = [
        average_precision(counts_by_score(score[told], shown[told] == 1))
        for score, shown, told in columns
    ]
    return np.array(found, dtype=np.float64)


def mean_present(scores: Scores) -> NDArray[np.float64]:
    """Return the mean over the last axis without NaN; NaN where all are."""
    present = ~np.isnan(scores)
    return _ratio(np.where(present, scores, 0.0).sum(axis=-1), present.sum(axis=-1).astype(float))
