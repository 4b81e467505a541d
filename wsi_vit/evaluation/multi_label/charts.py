"""How many of a label's examples are found, and how many calls are right, at every threshold."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsi_vit.evaluation.records import ClassScores, RecallCurve
from wsi_vit.evaluation.style import GRID, INK, line_of, new_figure, panel, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def recall_chart(curves: Sequence[RecallCurve], classes: Sequence[ClassScores]) -> "Figure":
    """Draw precision-recall curves with their areas, and each label's threshold on its curve.

    A dotted line is what calling a label by chance reaches: how common it is.
    """
    rows = {row.name: row for row in classes}
    figure = new_figure(width_in=5.6, height_in=5.0)
    axes: Axes = panel(figure)[0, 0]
    quiet(axes, x="recall", y="precision", title="Precision and recall of each label")
    for index, curve in enumerate(curves):
        _draw(axes, curve, rows[curve.name], index)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)
    axes.grid(color=GRID)
    axes.legend(
        loc="lower left", frameon=True, framealpha=0.85, edgecolor="none", fontsize=10,
        title="average precision", title_fontsize=9,
    )  # fmt: skip
    return figure


def _draw(axes: "Axes", curve: RecallCurve, row: ClassScores, index: int) -> None:
    colour, dash = line_of(index)
    value, common = row.score("ap").value, row.score("prevalence").value
    label = curve.name if value is None else f"{curve.name}  {value:.3f}"
    # From recall 0: before the first example is found, precision is what the first call has.
    axes.plot(
        [0.0, *curve.recall],
        [curve.precision[0], *curve.precision],
        color=colour,
        linestyle=dash,
        linewidth=2.2,
        label=label,
    )
    if common is not None:
        axes.axhline(common, color=colour, linewidth=1, linestyle=(0, (1, 3)))
    if curve.at is not None:
        axes.plot(*curve.at, "o", markersize=9, color=colour, markeredgecolor=INK)
