"""Several evaluations side by side, each on its own data: no ranking."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wsi_vit.evaluation.figures import WORDS, class_panel
from wsi_vit.evaluation.records import Evaluation
from wsi_vit.evaluation.style import new_figure, panel, quiet
from wsi_vit.evaluation.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CLASS_METRIC = {"segmentation": "iou", "classification": "f1", "multi_label": "ap"}


def side_by_side_chart(evaluations: Mapping[str, Evaluation]) -> "Figure":
    """Draw the IoU (F1 of classes, AP of labels) of each class, a panel a run, with intervals."""
    most = max(len(found.classes) for found in evaluations.values())
    drawn = new_figure(width_in=3.6 * len(evaluations) + 0.4, height_in=max(2.4, 1.3 + 0.46 * most))
    panels = panel(drawn, 1, len(evaluations))[0]
    for axes, (name, found) in zip(panels, evaluations.items(), strict=True):
        metric = _CLASS_METRIC[found.task]
        quiet(axes, x=f"{WORDS[metric]}, test split", title=f"{name}\n{headline_in_words(found)}")
        class_panel(axes, found.classes, metric)
        axes.set_ylim(len(found.classes) - most - 0.6, len(found.classes) - 0.4)
    return drawn


def class_scores_in_words(found: Evaluation) -> str:
    """Return the IoU (F1 of classes, AP of labels) of every class in one line."""
    metric = _CLASS_METRIC[found.task]
    scores = ", ".join(f"{row.name} {number(row.score(metric).value)}" for row in found.classes)
    return f"{WORDS[metric]}: {scores}"


def headline_in_words(found: Evaluation) -> str:
    """Return the metric that decides, with its interval where there is one, in a few characters."""
    score = found.headline
    bounds = "" if score.low is None else f" ({number(score.low)} to {number(score.high)})"
    return f"{WORDS[score.name]} {number(score.value)}{bounds}"
