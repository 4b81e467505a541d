"""How much accuracy two models differ by, over seeds and test images: a paired bootstrap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.records import Score, tidy

Floats = NDArray[np.float64]
Right = NDArray[np.bool_]
"""Whether each run (rows, one a seed) was right about each test image (columns)."""

_BLOCK_CELLS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """Accuracy without and with what is compared, and the paired difference (learner - without)."""

    without: Score
    learner: Score
    difference: Score


def paired_accuracies(
    without: Right, learner: Right, units: Sequence[str], *, resamples: int, seed: int
) -> Accuracies:
    """Return mean accuracies with 95 % percentile intervals, and that of their difference.

    Both sides were trained with the same seeds on the same images and answer for the same test
    images. In each resample seeds are drawn with replacement and, apart from them, whole units
    (patients, or images where none are known), the same ones for both sides. So the interval tells
    of other seeds and of other test images; it is rather too wide than too narrow (the pigeonhole
    bootstrap of two crossed factors; Owen 2007, Annals of Applied Statistics 1:386, theorem 3).

    Args:
        without: (seeds, images).
        learner: (seeds, images), of the same seeds and images in the same order.
        units: Whom each image is of, (images,).
        resamples: How many times are drawn.
        seed: Decides what is drawn.
    """
    names, owners = np.unique(np.asarray(units, str), return_inverse=True)
    sizes = np.bincount(owners, minlength=len(names)).astype(np.float64)
    tables = {"without": _by_unit(without, owners), "learner": _by_unit(learner, owners)}
    tables["difference"] = tables["learner"] - tables["without"]
    drawn = _drawn(tables, sizes, resamples=resamples, seed=seed)
    scores = {
        name: _score(name, table.sum() / (len(table) * sizes.sum()), drawn[name])
        for name, table in tables.items()
    }
    return Accuracies(
        without=scores["without"], learner=scores["learner"], difference=scores["difference"]
    )


def _by_unit(right: Right, owners: NDArray[np.intp]) -> Floats:
    """Return how many images of each unit each run was right about, (seeds, units)."""
    rows = [np.bincount(owners, weights=row) for row in right.astype(np.float64)]
    return np.stack(rows).astype(np.float64)


def _drawn(
    tables: dict[str, Floats], sizes: Floats, *, resamples: int, seed: int
) -> dict[str, Floats]:
    random = np.random.default_rng(seed)
    seeds, units = next(iter(tables.values())).shape
    parts: dict[str, list[Floats]] = {name: [] for name in tables}
    block = max(1, _BLOCK_CELLS // units)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), rows)
        of_units = random.multinomial(units, np.full(units, 1 / units), rows)
        counted = seeds * (of_units @ sizes)
        for name, table in tables.items():
            parts[name].append(((of_seeds @ table) * of_units).sum(axis=1) / counted)
    return {name: np.concatenate(part) for name, part in parts.items()}


def median_ratio(slow: Sequence[float], fast: Sequence[float], *, seed: int) -> Score:
    """Return the median over rounds of `slow / fast`, with a bootstrap interval over rounds."""
    return _median("ratio", np.asarray(slow) / np.asarray(fast), seed)


def median_rate(seconds: Sequence[float], *, seed: int) -> Score:
    """Return the median over rounds of how many there are a second, with its interval."""
    return _median("steps/s", 1 / np.asarray(seconds), seed)


def _median(name: str, each: Floats, seed: int) -> Score:
    drawn = np.random.default_rng(seed).choice(each, (2_000, len(each)))
    return _score(name, np.median(each), np.median(drawn, axis=1))


def _score(name: str, value: np.floating, drawn: Floats) -> Score:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Score(name=name, value=tidy(float(value)), low=tidy(low), high=tidy(high))
