"""The charts of an evaluation, drawn from its record alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.multi_label.charts import recall_chart
from wsi_vit.evaluation.records import THRESHOLD, Calibration, ClassScores, Curve, Evaluation
from wsi_vit.evaluation.style import (
    GRID,
    INK,
    OKABE_ITO,
    QUIET,
    WRONG,
    line_of,
    new_figure,
    panel,
    quiet,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = {
    "macro_f1": "macro-F1",
    "explained": "variance explained",
    "mean_iou": "mean IoU",
    "mean_ap": "mean AP",
    "mean_dice": "mean Dice",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "cohen_kappa": "Cohen's kappa",
    "macro_auroc": "macro AUROC",
    "exact_match": "exact match",
    "ap": "AP",
    "prevalence": "prevalence",
    "precision": "precision",
    "recall": "recall",
    THRESHOLD: "threshold",
    "f1": "F1",
    "iou": "IoU",
    "dice": "Dice",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auroc": "AUROC",
}
"""How the names of metrics are written for people."""


def draw_charts(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw every chart that the evaluation's record holds, as PNG files in `folder`."""
    confused = evaluation.levels[0].counts is not None
    charts = {"confusion": confusion_chart(evaluation)} if confused else {}
    charts["classes"] = class_chart(evaluation.classes)
    if evaluation.precision_recall:
        charts["precision_recall"] = recall_chart(evaluation.precision_recall, evaluation.classes)
    if evaluation.roc:
        charts["roc"] = roc_chart(evaluation.roc, evaluation.classes)
    if evaluation.calibration:
        things = f"{evaluation.example_word}s"
        charts["reliability"] = reliability_chart(evaluation.calibration, things=things)
    return [save(figure, folder / f"{name}.png") for name, figure in charts.items()]


def confusion_chart(evaluation: Evaluation) -> "Figure":
    """Draw the confusion matrix: shares of each true class, with the counts beside them."""
    counts = np.array(evaluation.levels[0].counts, dtype=np.float64)
    names = [row.name for row in evaluation.classes]
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = max(4.2, 1.0 + 0.95 * len(names))
    figure = new_figure(width_in=side + 0.8, height_in=side)
    axes: Axes = panel(figure)[0, 0]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    unit = "pixels" if evaluation.task == "segmentation" else f"{evaluation.example_word}s"
    quiet(axes, x="predicted", y="truth", title=f"Share of each true class ({unit} below)")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.spines[["left", "bottom"]].set_visible(False)
    _write_cells(axes, shares, counts)
    return figure


def _write_cells(axes: "Axes", shares: NDArray[np.float64], counts: NDArray[np.float64]) -> None:
    size = 11 if len(shares) <= 8 else max(5, 90 // len(shares))
    for (row, column), share in np.ndenumerate(shares):
        ink = "white" if share > 0.55 else INK
        axes.text(
            column,
            row,
            f"{share:.0%}\n{short_count(float(counts[row, column]))}",
            ha="center",
            va="center",
            fontsize=size,
            color=ink,
            linespacing=1.35,
        )


def class_chart(classes: Sequence[ClassScores]) -> "Figure":
    """Draw every figure of every class with its 95 % interval, one panel a metric."""
    metrics = [score.name for score in classes[0].scores if score.name != THRESHOLD]
    height = max(2.2, 0.9 + 0.46 * len(classes))
    figure = new_figure(width_in=2.5 + 2.05 * len(metrics), height_in=height)
    panels = panel(figure, 1, len(metrics))[0]
    for index, (axes, metric) in enumerate(zip(panels, metrics, strict=True)):
        quiet(axes, title=WORDS.get(metric, metric))
        class_panel(axes, classes, metric)
        if index:
            axes.set_yticklabels([])
    return figure


def class_panel(axes: "Axes", classes: Sequence[ClassScores], metric: str) -> None:
    """Draw one figure of every class with its 95 % interval, the first class on top."""
    rows = np.arange(len(classes))[::-1]
    axes.set_xlim(0, 1.0)
    axes.set_ylim(-0.6, len(classes) - 0.4)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="x", color=GRID)
    axes.set_yticks(rows, [row.name for row in classes])
    axes.tick_params(axis="y", length=0)
    for y, row in zip(rows, classes, strict=True):
        _bar(axes, float(y), row, metric)


def _bar(axes: "Axes", y: float, row: ClassScores, metric: str) -> None:
    score = row.score(metric)
    if score.value is None:
        axes.text(0.02, y, "not in this split", va="center", fontsize=9, color=QUIET)
        return
    axes.barh(y, score.value, height=0.62, color=OKABE_ITO[5])
    if score.low is not None and score.high is not None:
        below = y - 0.2  # of the number, so that a low figure's interval does not strike it out
        axes.plot([score.low, score.high], [below] * 2, color=INK, lw=2, solid_capstyle="butt")
    axes.text(
        0.02, y + 0.06, f"{score.value:.2f}", va="center", fontsize=10, color=INK, weight="bold"
    )


def roc_chart(curves: Sequence[Curve], classes: Sequence[ClassScores]) -> "Figure":
    """Draw ROC curves, each class against the rest, with their areas in the legend."""
    areas = {row.name: row.score("auroc").value for row in classes}
    figure = new_figure(width_in=5.6, height_in=5.0)
    axes: Axes = panel(figure)[0, 0]
    quiet(
        axes,
        x="false positive rate (1 - specificity)",
        y="true positive rate (sensitivity)",
        title="ROC, each class against the rest",
    )
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (1, 3)))
    for index, curve in enumerate(curves):
        colour, dash = line_of(index)
        area = areas.get(curve.name)
        label = curve.name if area is None else f"{curve.name}  {area:.3f}"
        axes.plot(
            curve.false_positive_rate,
            curve.true_positive_rate,
            color=colour,
            linestyle=dash,
            linewidth=2.2,
            label=label,
        )
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.grid(color=GRID)
    axes.legend(loc="lower right", frameon=False, fontsize=10, title="area", title_fontsize=9)
    return figure


def reliability_chart(calibration: Calibration, *, things: str) -> "Figure":
    """Draw how often the model is right where it says it is sure, above how often it says so.

    `things` is what was scored, such as `tiles`.
    """
    figure = new_figure(width_in=5.6, height_in=5.0)
    upper, lower = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    bins = [b for b in calibration.bins if b.accuracy is not None]
    title = f"Reliability: ECE {calibration.ece:.3f}, Brier {calibration.brier:.3f}"
    quiet(upper, y="share that is right", title=title)
    upper.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (1, 3)))
    width = calibration.bins[0].high - calibration.bins[0].low
    middles = [(b.low + b.high) / 2 for b in bins]
    upper.bar(middles, [b.accuracy for b in bins], width=width * 0.92, color=OKABE_ITO[5])
    upper.plot(
        [b.confidence for b in bins],
        [b.accuracy for b in bins],
        "o",
        color=WRONG,
        markersize=5,
        label="mean confidence of the bin",
    )
    upper.set_ylim(0, 1.02)
    upper.grid(axis="y", color=GRID)
    upper.legend(loc="upper left", frameon=False, fontsize=9)
    quiet(lower, x="confidence (highest class score)", y=things)
    lower.bar(middles, [b.count for b in bins], width=width * 0.92, color=QUIET)
    lower.set_xlim(0, 1)
    return figure


def training_chart(epochs: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the losses, and the validation metric with its best epoch, over epochs.

    An epoch is a `training.records.Epoch` as the journal holds it; what is missing is left out.
    """
    figure = new_figure(width_in=5.6, height_in=5.0)
    losses, metrics = panel(figure, 2, 1)[:, 0]
    numbers = [float(epoch["number"]) for epoch in epochs]
    quiet(losses, y="loss", title="Loss")
    _line(losses, numbers, [_number(e.get("train_loss")) for e in epochs], name="training")
    _line(losses, numbers, [_number(_validation(e).get("loss")) for e in epochs], name="validation")
    losses.set_ylim(bottom=0)
    metric = str(_validation(epochs[-1]).get("metric", "metric"))
    quiet(metrics, x="epoch", y=WORDS.get(metric, metric), title="On the validation split")
    values = [_number(_validation(epoch).get("value")) for epoch in epochs]
    _line(metrics, numbers, values, name="")
    _mark_best(metrics, numbers, values, epochs)
    metrics.set_ylim(0, 1.02)
    for axes in (losses, metrics):
        axes.grid(axis="y", color=GRID)
        axes.set_xlim(min(numbers) - 0.4, max(numbers) + 0.4)
        axes.xaxis.get_major_locator().set_params(integer=True)
    if losses.lines:
        losses.legend(frameon=False, fontsize=9)
    return figure


def _line(axes: "Axes", xs: list[float], ys: list[float], *, name: str) -> None:
    if np.isnan(ys).all():
        return
    colour, dash = line_of(len(axes.lines))
    mark = "o" if len(xs) < 30 else ""
    axes.plot(xs, ys, color=colour, linestyle=dash, marker=mark, markersize=4, label=name)


def _mark_best(
    axes: "Axes", xs: list[float], ys: list[float], epochs: Sequence[Mapping[str, Any]]
) -> None:
    """Ring the epoch whose weights were kept: the last that was better than all before it."""
    best = max((i for i, epoch in enumerate(epochs) if epoch.get("best")), default=None)
    if best is None or np.isnan(ys[best]):
        return
    axes.plot(xs[best], ys[best], "o", markersize=10, markerfacecolor="none", color=WRONG)
    axes.annotate(
        f"kept: {ys[best]:.2f}",
        (xs[best], ys[best]),
        xytext=(0, -17),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=INK,
    )


def _validation(epoch: Mapping[str, Any]) -> Mapping[str, Any]:
    found = epoch.get("validation")
    return found if isinstance(found, Mapping) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def short_count(count: float) -> str:
    """Write a count in few characters: 912, 12.3k, 4.56M."""
    # A step begins where three digits would round up to it: 999,999 is 1M, not 1e+03k.
    for least, unit, letter in ((9.995e8, 1e9, "G"), (9.995e5, 1e6, "M"), (1e4, 1e3, "k")):
        if count >= least:
            return f"{count / unit:.3g}{letter}"
    return f"{count:.0f}"
