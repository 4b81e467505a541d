"""One look for every figure: Okabe-Ito colours, quiet axes, type that can be read in print."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from wsi_vit.store import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#f0e442",
)
"""Colours that people of any colour vision tell apart (Okabe & Ito 2008); yellow comes last."""

LINES = ("-", "--", "-.", ":")

INK, QUIET, GRID = "#1a1f26", "#5b6570", "#e3e6ea"
RIGHT, WRONG = "#0072b2", "#d55e00"

_DPI = 160


def new_figure(*, width_in: float, height_in: float) -> "Figure":
    """Return an empty figure on the Agg canvas; no global state of pyplot is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panel(
    figure: "Figure", rows: int = 1, columns: int = 1, *, heights: Sequence[float] | None = None
) -> "NDArray[np.object_]":
    """Return a grid of axes, shape (rows, columns); rows are equally high if nothing is said."""
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    return cast("NDArray[np.object_]", grid)


def quiet(axes: "Axes", *, x: str = "", y: str = "", title: str = "") -> None:
    """Give axes the house look and their words."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=10, length=3)
    axes.set_xlabel(x, color=INK, fontsize=11)
    axes.set_ylabel(y, color=INK, fontsize=11)
    if title:
        axes.set_title(title, color=INK, fontsize=12, loc="left", fontweight="bold")
    axes.set_axisbelow(True)


def bare(axes: "Axes", *, colour: str | None = None) -> None:
    """Take ticks away, for pictures; a coloured frame where `colour` is given."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(colour is not None)
        if colour is not None:
            spine.set_color(colour)
            spine.set_linewidth(3)


def line_of(index: int) -> tuple[str, str]:
    """Return colour and dash of the n-th line; no two of 32 are alike."""
    return OKABE_ITO[index % len(OKABE_ITO)], LINES[index // len(OKABE_ITO) % len(LINES)]


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG, whole or not at all; the same figure gives the same bytes."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        cast("Text", text).set_parse_math(False)  # a name with two $ is a name, not a formula
    with write_whole(path) as scratch:
        figure.savefig(scratch, format="png", dpi=_DPI, metadata={"Software": None})
    return path
