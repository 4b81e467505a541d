"""Original, what is seen of it, and what is drawn: tiles side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.inference import SplitExamples
from wsi_vit.evaluation.pretraining.measure import reconstructions
from wsi_vit.evaluation.style import INK, bare, new_figure, panel
from wsi_vit.models.pretraining.mae import Mae

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 6
_HIDDEN_GREY = 200
_COLUMNS = ("original", "what is seen", "what is drawn")

Images = NDArray[np.uint8]
"""(n, height, width, 3)."""


def reconstruction_picture(model: Mae, examples: SplitExamples) -> "Figure":
    """Draw some images of a split, spread evenly over it, each in a row."""
    rows = _Chosen(examples, np.linspace(0, len(examples) - 1, min(_SHOWN, len(examples))))
    [(batch, made)] = reconstructions(model, rows, batch_size=_SHOWN)
    original = model.collate(batch)["images"].permute(0, 2, 3, 1).numpy()
    hidden = made.mask.cpu().numpy()[..., None]
    drawn = made.drawn.permute(0, 2, 3, 1).cpu().numpy()
    seen = np.where(hidden, np.uint8(_HIDDEN_GREY), original)
    errors = [f"error {error:.2f}" for error in made.error.tolist()]
    return _grid([original, seen, drawn], errors)


def _grid(columns: Sequence[Images], words: Sequence[str]) -> "Figure":
    rows = len(words)
    figure = new_figure(width_in=6.6, height_in=0.4 + 2.15 * rows)
    axes = panel(figure, rows, len(columns))
    for row, column in np.ndindex(axes.shape):
        place: Any = axes[row, column]
        place.imshow(columns[column][row], interpolation="nearest")
        bare(place)
        if row == 0:
            place.set_title(_COLUMNS[column], color=INK, fontsize=12, fontweight="bold")
        if column == len(columns) - 1:
            place.set_xlabel(words[row], color=INK, fontsize=10)
    return figure


class _Chosen:
    """Some examples of a split."""

    def __init__(self, examples: SplitExamples, places: NDArray[np.float64]) -> None:
        self._examples = examples
        self._places = [int(place) for place in places]
        self.keys, self.slide_ids, self.patients = (
            [names[place] for place in self._places]
            for names in (examples.keys, examples.slide_ids, examples.patients)
        )

    def __len__(self) -> int:
        return len(self._places)

    def __getitems__(self, indices: Sequence[int]) -> list:
        return self._examples.__getitems__([self._places[index] for index in indices])
