"""From which score on a label is called present: what F1 is largest with on the validation split.

Thresholds are no weights, and no metric that chooses the best epoch depends on them, so they are
tuned once, after the training, and saved with the model.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.inference import SplitExamples, score_labels
from wsi_vit.labels import IGNORE_ID
from wsi_vit.metrics import counts_by_score
from wsi_vit.models.averaging import Average, averaged
from wsi_vit.models.model import Model

UNTUNED = 0.5
_BATCH = 32


def tune_thresholds(
    model: Model, examples: SplitExamples, *, average: Average
) -> tuple[float, ...]:
    """Give a model the threshold of each label that is best on a split; return them.

    Args:
        model: Of several labels an image.
        examples: What it has not learnt from, the validation split.
        average: Over which views its scores are averaged, as when it is applied.

    Raises:
        DatasetError: The split knows of no label.
        ModelError: The scores are not finite.
    """
    found = score_labels(averaged(model, average), examples, batch_size=_BATCH)
    columns = zip(found.scores.T, found.presence.T, strict=True)
    thresholds = tuple(
        best_threshold(scores[shown != IGNORE_ID], shown[shown != IGNORE_ID] == 1)
        for scores, shown in columns
    )
    tuned: Any = model  # this kind alone has thresholds
    tuned.call_present_from(thresholds)
    return thresholds


def best_threshold(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the threshold of scores (n,) with the largest F1; what reaches it is present.

    It lies halfway between the lowest score that is called present and the next below it, or 0, so
    that last bits decide nothing. Of thresholds with one F1 the highest is taken, which calls the
    fewest by mistake. A label that is nowhere, or everywhere, tells nothing: 0.5.
    """
    if positive.all() or not positive.any():
        return UNTUNED
    counts = counts_by_score(scores, positive)
    hits, called = counts[:, 1].cumsum(), counts.sum(axis=1).cumsum()
    best = int((2 * hits / (called + positive.sum())).argmax())
    falling = np.append(np.unique(scores)[::-1], 0.0).astype(np.float64)
    return float(falling[best] + falling[best + 1]) / 2
