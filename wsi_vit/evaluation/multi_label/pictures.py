"""Examples that show what a model of several labels an image calls best, and worst."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.inference import ScoredLabels, SplitExamples
from wsi_vit.evaluation.multi_label.items import per_tile
from wsi_vit.evaluation.style import RIGHT, WRONG, save
from wsi_vit.evaluation.walls import A_ROW, in_turns, wall
from wsi_vit.labels import LabelMap

FOUND, MISTAKEN = "found", "mistaken"
"""Names of the two pictures."""


def draw_labelled(
    examples: SplitExamples, found: ScoredLabels, labels: LabelMap, *, folder: Path
) -> list[Path]:
    """Draw the surest of what was rightly found, and the worst mistakes, as PNG files."""
    paths: list[Path] = []
    for name, calls, colour in (
        (FOUND, surest_found(found, at_most=2 * A_ROW), RIGHT),
        (MISTAKEN, worst_mistakes(found, at_most=2 * A_ROW), WRONG),
    ):
        if calls:
            shown = [(int(found.names.indices[at]), words(found, labels, at, k)) for at, k in calls]
            paths.append(save(wall(examples, shown, colour=colour), folder / f"{name}.png"))
    return paths


def surest_found(found: ScoredLabels, *, at_most: int) -> list[tuple[int, int]]:
    """Return example and label of what shows a label and is called so, labels taking turns."""
    wanted = (found.presence == 1) & per_tile(found).called
    return _ranked(found.scores, wanted, at_most)


def worst_mistakes(found: ScoredLabels, *, at_most: int) -> list[tuple[int, int]]:
    """Return example and label of false alarms and of what was missed, labels taking turns.

    Of each label what is furthest from right comes first: a false alarm by its score, what was
    missed by how far its score is from 1.
    """
    called = per_tile(found).called
    alarms, missed = (found.presence == 0) & called, (found.presence == 1) & ~called
    return _ranked(np.where(missed, 1 - found.scores, found.scores), alarms | missed, at_most)


def words(found: ScoredLabels, labels: LabelMap, at: int, k: int) -> str:
    """Return what is true of a label in an example, and how sure the model was of it."""
    score, threshold = float(found.scores[at, k]), found.thresholds[k]
    said = f"score {percent(score)}, from {percent(threshold)}"
    if found.presence[at, k] == 0:
        return f"no {labels.names[k]}\n{said}"
    missed = " missed" if score < threshold else ""
    return f"{labels.names[k]}{missed}\n{said}"


def percent(share: float) -> str:
    """Return a share for people: what is not quite certain is never called so."""
    if share > 0.995:
        return "> 99%"
    return "< 1%" if share < 0.005 else f"{share:.0%}"


def _ranked(
    scores: NDArray[np.floating], wanted: NDArray[np.bool_], at_most: int
) -> list[tuple[int, int]]:
    queues: list[Sequence[int]] = []
    labels = scores.shape[1]
    for k in range(labels):
        mine = np.flatnonzero(wanted[:, k])
        order = mine[np.argsort(-scores[mine, k], kind="stable")]
        queues.append((order * labels + k).tolist())
    return [divmod(place, labels) for place in in_turns(queues, at_most)]
