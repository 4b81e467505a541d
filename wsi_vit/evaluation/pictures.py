"""Pictures of what the model saw and said: overlays for masks, a wall of tiles for classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.example import Example
from wsi_vit.evaluation.inference import (
    CountedMasks,
    ScoredLabels,
    ScoredTiles,
    SplitExamples,
    masks_of,
    run_model,
)
from wsi_vit.evaluation.multi_label.pictures import draw_labelled
from wsi_vit.evaluation.style import INK, QUIET, RIGHT, WRONG, bare, new_figure, panel, save
from wsi_vit.evaluation.walls import A_ROW, in_turns, wall
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.metrics import mean_iou
from wsi_vit.models.model import Model

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One example with its prediction, and the words above it."""

    example: Example
    prediction: NDArray[np.uint8]
    """Shape (h, w), the mask's."""
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Some examples of a split, by position, and how they are read again."""

    examples: SplitExamples
    indices: Sequence[int]

    @property
    def keys(self) -> Sequence[str]:
        """Names of the examples."""
        return [str(self.examples.keys[i]) for i in self.indices]

    @property
    def slide_ids(self) -> Sequence[str]:
        """The slide of each example."""
        return [str(self.examples.slide_ids[i]) for i in self.indices]

    @property
    def patients(self) -> Sequence[str]:
        """The patient of each example."""
        return [str(self.examples.patients[i]) for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Return the examples at these positions of the choice."""
        return self.examples.__getitems__([self.indices[i] for i in indices])


def draw_pictures(
    model: Model,
    examples: SplitExamples,
    found: ScoredTiles | CountedMasks | ScoredLabels,
    *,
    folder: Path,
) -> list[Path]:
    """Draw the pictures that suit the task, as PNG files in `folder`.

    The few examples shown are read and predicted once more, so that the pass over the split keeps
    no picture.
    """
    if isinstance(found, ScoredTiles):
        return draw_tiles(examples, found, model.labels, folder=folder)
    if isinstance(found, ScoredLabels):
        return draw_labelled(examples, found, model.labels, folder=folder)
    chosen = choose_masks(found, model.labels.background_id)
    if not chosen:
        return []
    shown = predict_again(model, examples, found, chosen)
    return [save(overlay_figure(shown, model.labels), folder / "overlays.png")]


def choose_masks(masks: CountedMasks, background: int | None) -> dict[str, int]:
    """Return the positions of the best, the median and the worst example by mean IoU.

    Examples that hold no class to be scored are passed over; ties go to the earlier one.
    """
    scores = mean_iou(masks.counts, background)
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    if order.size == 0:
        return {}
    places = {"best": 0, "median": order.size // 2, "worst": order.size - 1}
    if order.size == 1:
        places = {"only": 0}
    return {f"{word}: {scores[order[at]]:.2f}": int(order[at]) for word, at in places.items()}


def predict_again(
    model: Model, examples: SplitExamples, masks: CountedMasks, chosen: dict[str, int]
) -> list[Shown]:
    """Return the chosen examples (title: position among the masks) with their predictions."""
    picked = Picked(
        examples=examples, indices=[int(masks.names.indices[at]) for at in chosen.values()]
    )
    pairs = [
        (example, mask)
        for batch, scores in run_model(model, picked, batch_size=len(picked))
        for example, mask in zip(batch, masks_of(scores, batch), strict=True)
    ]
    return [
        Shown(example=example, prediction=mask, title=title)
        for title, (example, mask) in zip(chosen, pairs, strict=True)
    ]


_SIDE_IN = 3.0
"""Width of each of the three pictures in a row."""
_WORDS_IN = 0.25
"""Height of the words below it."""


def overlay_figure(shown: Sequence[Shown], labels: LabelMap) -> "Figure":
    """Draw image, truth and prediction side by side, one row an example, legend below."""
    sizes = [item.example.image.shape[:2] for item in shown]
    rows_in = [_SIDE_IN * height / width + _WORDS_IN for height, width in sizes]
    figure = new_figure(width_in=9.6, height_in=sum(rows_in) + 0.6)
    axes = panel(figure, len(shown), 3, heights=rows_in)
    for row, item in zip(axes, shown, strict=True):
        image, truth = item.example.image, item.example.target
        row[0].imshow(image)
        row[1].imshow(overlay(image, truth, labels))
        row[2].imshow(overlay(image, item.prediction, labels))
        row[0].set_ylabel(item.title, fontsize=12, color=INK, fontweight="bold")
        row[0].set_xlabel(_shortened(item.example.key), fontsize=8, color=QUIET)
        for one in row:
            bare(one)
    for one, word in zip(axes[0], ("image", "truth", "prediction"), strict=True):
        one.set_title(word, fontsize=12, color=INK, loc="left", fontweight="bold")
    _legend(figure, labels, shown)
    return figure


def overlay(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelMap, *, strength: float = 0.38
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) tinted by class, with full-colour outlines between classes.

    The background is left as it is, ignored pixels turn grey. The mask is scaled to the image
    (nearest) where their sizes differ.
    """
    rows = np.arange(image.shape[0]) * mask.shape[0] // image.shape[0]
    columns = np.arange(image.shape[1]) * mask.shape[1] // image.shape[1]
    ids = mask[rows[:, None], columns]
    paint = labels.paint(ids).astype(np.float32)
    tint = np.full(ids.shape, strength, dtype=np.float32)
    if labels.background_id is not None:
        tint[ids == labels.background_id] = 0.0
    tint[_outline(ids) & (tint > 0)] = 1.0
    mixed = image * (1 - tint[..., None]) + paint * tint[..., None]
    return mixed.round().astype(np.uint8)


def _outline(ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels whose neighbour within a hundredth of the side is of another class."""
    edge = np.zeros(ids.shape, dtype=bool)
    for reach in range(1, max(1, min(ids.shape) // 128) + 1):
        edge[:, reach:] |= ids[:, reach:] != ids[:, :-reach]
        edge[:, :-reach] |= ids[:, reach:] != ids[:, :-reach]
        edge[reach:] |= ids[reach:] != ids[:-reach]
        edge[:-reach] |= ids[reach:] != ids[:-reach]
    return edge


def _legend(figure: "Figure", labels: LabelMap, shown: Sequence[Shown]) -> None:
    seen = {int(i) for s in shown for i in np.unique(s.example.target)}
    seen |= {int(i) for s in shown for i in np.unique(s.prediction)}
    patches = [
        _patch(item.name, item.colour, untinted=item.name == labels.background)
        for index, item in enumerate(labels.classes)
        if index in seen
    ]
    if IGNORE_ID in seen:
        patches.append(_patch("not annotated, not scored", "#808080", untinted=False))
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=min(5, len(patches)),
        frameon=False,
        fontsize=11,
    )


def _patch(name: str, colour: str, *, untinted: bool) -> "Patch":
    from matplotlib.patches import Patch

    label = f"{name} (not tinted)" if untinted else name
    return Patch(facecolor="white" if untinted else colour, edgecolor=INK, label=label)


def draw_tiles(
    examples: SplitExamples, tiles: ScoredTiles, labels: LabelMap, *, folder: Path
) -> list[Path]:
    """Draw the most confident right and wrong tiles, as `right.png` and `wrong.png`."""
    right = tiles.scores.argmax(axis=1) == tiles.truth
    paths: list[Path] = []
    for name, wanted, colour in (("right", right, RIGHT), ("wrong", ~right, WRONG)):
        chosen = most_confident(tiles, wanted, at_most=2 * A_ROW)
        if chosen:
            shown = [(int(tiles.names.indices[at]), _caption(tiles, labels, at)) for at in chosen]
            paths.append(save(wall(examples, shown, colour=colour), folder / f"{name}.png"))
    return paths


def most_confident(tiles: ScoredTiles, wanted: NDArray[np.bool_], *, at_most: int) -> list[int]:
    """Return positions of the surest of the wanted tiles, true classes taking turns.

    Without turns, one easy class would fill the picture.
    """
    top = tiles.scores.max(axis=1)
    queues = []
    for k in range(tiles.scores.shape[1]):
        mine = np.flatnonzero(wanted & (tiles.truth == k))
        queues.append(mine[np.argsort(-top[mine], kind="stable")].tolist())
    return in_turns(queues, at_most)


def _caption(tiles: ScoredTiles, labels: LabelMap, at: int) -> str:
    """Return what a tile is, what it was called, and how surely."""
    said, truth = int(tiles.scores[at].argmax()), int(tiles.truth[at])
    score = float(tiles.scores[at, said])
    sure = f"{score:.0%}" if score < 0.995 else "> 99%"
    if said == truth:
        return f"{labels.names[truth]}\n{sure} sure"
    return f"{labels.names[truth]}\ncalled {labels.names[said]}, {sure}"


def _shortened(key: str, limit: int = 44) -> str:
    return key if len(key) <= limit else f"…{key[-limit + 1 :]}"
