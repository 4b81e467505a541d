"""Figures and their intervals, laid out as records."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.intervals import bounds
from wsi_vit.evaluation.records import ClassScores, Score, tidy
from wsi_vit.labels import LabelMap

Floats = NDArray[np.float64]

Column = tuple[Floats, Floats, Floats]
"""Value, low and high, each of shape (classes,)."""


def scored(name: str, value: Floats, samples: Floats | None) -> Score:
    """Return one figure; `samples` (resamples,) gives its interval, None gives none."""
    if samples is None:
        return Score(name=name, value=tidy(value))
    low, high = bounds(samples)
    return Score(name=name, value=tidy(value), low=tidy(low), high=tidy(high))


def column(values: Floats, samples: Floats | None) -> Column:
    """Return one figure a class; intervals come from `samples` (resamples, classes), if any."""
    if samples is None:
        nothing = np.full(values.shape, np.nan)
        return values, nothing, nothing
    return values, *bounds(samples)


def scores_of(names: Sequence[str], values: Column) -> tuple[Score, ...]:
    """Return one figure a class as records, named by the classes."""
    return tuple(
        Score(name=name, value=tidy(value), low=tidy(low), high=tidy(high))
        for name, value, low, high in zip(names, *values, strict=True)
    )


def count_by(
    groups: Sequence[str],
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    classes: int,
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the groups, sorted, and the confusion counts (groups, classes, classes).

    All of `groups`, `truth` and `prediction` are (n,); nothing larger than the result is made.
    """
    names, inverse = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    tables = np.zeros((len(names), classes, classes), dtype=np.int64)
    np.add.at(tables, (inverse, truth, prediction), 1)
    return tuple(str(name) for name in names), tables


def class_rows(
    labels: LabelMap, support: NDArray[np.int64], columns: dict[str, Column]
) -> tuple[ClassScores, ...]:
    """Return a row a class, in training-id order."""
    return tuple(
        ClassScores(
            name=item.name,
            colour=item.colour,
            support=int(support[k]),
            scores=tuple(
                Score(name=name, value=tidy(v[k]), low=tidy(low[k]), high=tidy(high[k]))
                for name, (v, low, high) in columns.items()
            ),
        )
        for k, item in enumerate(labels.classes)
    )
