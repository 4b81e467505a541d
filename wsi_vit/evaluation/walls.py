"""A wall of examples: pictures in rows, each framed and with its words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsi_vit.evaluation.inference import SplitExamples
from wsi_vit.evaluation.style import INK, bare, new_figure, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

A_ROW = 6
"""Pictures side by side."""


def in_turns(queues: Sequence[Sequence[int]], at_most: int) -> list[int]:
    """Return the first of each queue, then the second of each, and so on."""
    turns = [queue[turn] for turn in range(at_most) for queue in queues if turn < len(queue)]
    return turns[:at_most]


def wall(examples: SplitExamples, shown: Sequence[tuple[int, str]], *, colour: str) -> "Figure":
    """Draw examples of a split, by position, in rows, each framed and with its words above it."""
    columns = min(A_ROW, len(shown))
    rows = -(-len(shown) // columns)
    pictures = examples.__getitems__([place for place, _ in shown])
    tallest = max(item.image.shape[0] / item.image.shape[1] for item in pictures)
    height_in = 1.75 * min(tallest, 2.0) + 0.45  # the words are above it
    figure = new_figure(width_in=1.75 * columns + 0.2, height_in=height_in * rows)
    axes = panel(figure, rows, columns)
    for one in axes.ravel()[len(shown) :]:
        one.set_visible(False)
    for one, (_, words), example in zip(axes.ravel(), shown, pictures, strict=False):
        one.imshow(example.image)
        bare(one, colour=colour)
        one.set_title(words, fontsize=8.5, color=INK, loc="left", linespacing=1.3)
    return figure
