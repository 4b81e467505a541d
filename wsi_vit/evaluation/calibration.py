"""Whether scores mean what they say."""

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.records import Bin, Calibration, tidy


def calibrate(
    scores: NDArray[np.floating], truth: NDArray[np.integer], *, bins: int = 15
) -> Calibration:
    """Return expected calibration error, Brier score and the bins of the reliability diagram.

    `scores` is (n, classes) summing to 1, `truth` (n,) training ids. The error is that of Naeini
    et al. 2015: the mean over bins of the top score, equally wide and weighted by their items, of
    |accuracy - confidence|. The Brier score is the original, multi-class one (Brier 1950): the mean
    of the squared distance to the one-hot truth, 0 to 2.
    """
    top = scores.max(axis=1).astype(np.float64)
    right = scores.argmax(axis=1) == truth
    edges = np.linspace(0.0, 1.0, bins + 1)
    # Bins are (low, high], as in the paper, so that a score of exactly 1 has one.
    index = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    confidence = np.bincount(index, weights=top, minlength=bins)
    hits = np.bincount(index, weights=right, minlength=bins)
    onehot = np.eye(scores.shape[1])[truth]
    return Calibration(
        ece=round(float(np.abs(hits - confidence).sum() / len(truth)), 6),
        brier=round(float(((scores - onehot) ** 2).sum(axis=1).mean()), 6),
        bins=tuple(
            Bin(
                low=round(float(edges[i]), 6),
                high=round(float(edges[i + 1]), 6),
                count=int(count[i]),
                confidence=tidy(confidence[i] / count[i]) if count[i] else None,
                accuracy=tidy(hits[i] / count[i]) if count[i] else None,
            )
            for i in range(bins)
        ),
    )
