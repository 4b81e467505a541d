"""Accuracy against speed, and the paired difference beside its margin."""

from typing import TYPE_CHECKING

from wsi_vit.evaluation.records import Score
from wsi_vit.evaluation.style import GRID, INK, OKABE_ITO, QUIET, new_figure, panel, quiet
from wsi_vit.evaluation.token_learner.records import MARGIN, Comparison, Side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = ("o", "s")
_HUES = (OKABE_ITO[0], OKABE_ITO[1])


def comparison_chart(found: Comparison) -> "Figure":
    """Draw accuracy against steps a second with intervals, and the difference of each seed."""
    figure = new_figure(width_in=10.4, height_in=4.4)
    left, right = panel(figure, 1, 2)[0]
    _trade(left, found)
    _difference(right, found)
    return figure


def _trade(axes: "Axes", found: Comparison) -> None:
    quiet(
        axes,
        x="training steps a second",
        y="accuracy on the test split",
        title="What a step costs, what it is worth",
    )
    for index, (name, side) in enumerate(found.sides().items()):
        _point(axes, side, index=index, name=name)
    axes.grid(color=GRID)
    axes.set_xlim(0, 1.18 * max(side.steps_per_s.high or 0.0 for side in found.sides().values()))
    lows = [s.accuracy.low or 0.0 for s in found.sides().values()]
    highs = [s.accuracy.high or 1.0 for s in found.sides().values()]
    spread = max(max(highs) - min(lows), 0.02)
    axes.set_ylim(min(lows) - 0.55 * spread, max(highs) + 0.2 * spread)
    axes.legend(loc="lower right", frameon=False, fontsize=10)


def _point(axes: "Axes", side: Side, *, index: int, name: str) -> None:
    """Draw a side with its intervals, and each seed as a small mark of its own."""
    x, y = side.steps_per_s.value or 0.0, side.accuracy.value or 0.0
    axes.plot(
        [x] * len(side.accuracies),
        side.accuracies,
        "_",
        color=INK,
        markersize=13,
        zorder=5,
        label="each seed" if index else None,
    )
    axes.errorbar(
        x,
        y,
        xerr=_arms(side.steps_per_s),
        yerr=_arms(side.accuracy),
        fmt=_MARKS[index],
        color=_HUES[index],
        markersize=9,
        capsize=4,
        lw=2,
        label=f"{name}, 95 % intervals",
    )


def _difference(axes: "Axes", found: Comparison) -> None:
    """Draw the difference of each seed, their mean with its interval, and the margin."""
    pairs = zip(found.learner.accuracies, found.without.accuracies, strict=True)
    each = [learner - without for learner, without in pairs]
    quiet(axes, x="accuracy with less accuracy without", title="Paired difference")
    rows = list(range(len(each), 0, -1))
    axes.axvline(0, color=QUIET, lw=1)
    axes.axvline(-MARGIN, color=INK, lw=1.5, linestyle="--")
    axes.plot(each, rows, "o", color=QUIET, markersize=6)
    axes.errorbar(
        found.difference.value or 0.0,
        0,
        xerr=_arms(found.difference),
        fmt="D",
        color=_HUES[1],
        markersize=8,
        capsize=5,
        lw=2.5,
    )
    axes.set_yticks([*rows, 0], [*(f"seed {seed}" for seed in found.seeds), "all, 95 %"])
    axes.set_ylim(-0.9, len(each) + 0.9)
    widest = max(map(abs, [*each, found.difference.low or 0, found.difference.high or 0, MARGIN]))
    axes.set_xlim(-1.35 * widest, 1.35 * widest)
    axes.grid(axis="x", color=GRID)
    axes.annotate(
        f"margin {-MARGIN:+.2f}",
        (-MARGIN, len(each) + 0.9),
        xytext=(-4, -6),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="top",
        fontsize=9,
        color=INK,
    )


def _arms(score: Score) -> list[list[float]]:
    """Return how far an interval reaches below and above its figure, as matplotlib wants it."""
    value = score.value or 0.0
    below, above = value - (score.low or value), (score.high or value) - value
    return [[max(0.0, below)], [max(0.0, above)]]
