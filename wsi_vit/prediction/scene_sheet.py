"""The picture beside a picture: its classes, with a legend of id, colour, name and share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_vit.labels import LabelMap
from wsi_vit.prediction.drawing import (
    Heading,
    Ids,
    LegendEntry,
    Panel,
    class_legend,
    draw_sheet,
    overlay,
)
from wsi_vit.prediction.pictures import Pixels, resized

_MOST_LISTED = 24
"""With more classes than this, those that do not occur are counted, not listed."""


def draw_segmented(
    image: Pixels, ids: Ids, labels: LabelMap, *, heading: Heading, longest_px: int
) -> Image.Image:
    """Return a picture and its classes side by side, (H, W, 3) and (H, W), both upright."""
    counts = np.bincount(ids.ravel(), minlength=len(labels))
    small, at = resized(image, ids, longest_px)
    panels = [Panel("image", small), Panel("classes", overlay(small, at, labels))]
    return draw_sheet(heading, panels, _legend(labels, counts / ids.size))


def draw_classified(
    image: Pixels,
    scores: NDArray[np.float32],
    labels: LabelMap,
    *,
    heading: Heading,
    longest_px: int,
) -> Image.Image:
    """Return a picture (H, W, 3) with the score of each class, (classes,)."""
    small, _ = resized(image, np.zeros(image.shape[:2], np.uint8), longest_px)
    return draw_sheet(heading, [Panel("image", small)], _legend(labels, scores))


def draw_labelled(
    image: Pixels,
    scores: NDArray[np.float32],
    labels: LabelMap,
    *,
    thresholds: Sequence[float],
    heading: Heading,
    longest_px: int,
) -> Image.Image:
    """Return a picture (H, W, 3) with the score of each label, (labels,), those present first."""
    small, _ = resized(image, np.zeros(image.shape[:2], np.uint8), longest_px)
    notes = [
        f"{_percent(float(score))}, " + ("present" if score >= limit else f"below {limit:.1%}")
        for score, limit in zip(scores, thresholds, strict=True)
    ]
    entries = class_legend(labels, notes)
    order = np.lexsort((-scores, scores < np.asarray(thresholds)))
    shown = [entries[index] for index in order[:_MOST_LISTED]]
    hidden = len(entries) - len(shown)
    rest = [LegendEntry(None, "#ffffff", f"{hidden} more labels, less likely")] if hidden else []
    return draw_sheet(heading, [Panel("image", small)], [*shown, *rest])


def _legend(labels: LabelMap, values: NDArray[Any]) -> list[LegendEntry]:
    entries = class_legend(labels, [_percent(float(value)) for value in values])
    if len(entries) <= _MOST_LISTED:
        return entries
    shown = [entry for entry, value in zip(entries, values, strict=True) if value >= 0.0005]
    hidden = len(entries) - len(shown)
    rest = LegendEntry(None, "#ffffff", f"{hidden} more classes, below 0.1% each")
    return [*shown, rest] if hidden else shown


def _percent(value: float) -> str:
    """Return a share for people: what is there is never called 0."""
    return "<0.1%" if 0 < value < 0.0005 else f"{value:.1%}"
