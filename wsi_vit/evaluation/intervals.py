"""95 % intervals from a bootstrap over patients (Efron & Tibshirani 1993, ch. 13: percentiles).

Tiles of one patient are alike, so patients are drawn, not tiles: an interval over tiles would be
far too narrow. A resample is how often each patient was drawn, so that every metric that is a ratio
of counts needs one matrix product: (resamples, patients) times (patients, counts).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wsi_vit.evaluation.ranking import pairs_won
from wsi_vit.evaluation.records import REGIONS
from wsi_vit.evaluation.units import one_of

Floats = NDArray[np.float64]

Metric = Callable[[NDArray[np.int64]], Floats]
"""Takes counts (..., classes, classes), gives scores (...) or (..., classes)."""

FEW_PATIENTS = 20
"""Below this many, a percentile interval is known to be too narrow, and the report says so."""

_DEFINED_SHARE = 0.8
_BLOCK_CELLS = 2_000_000


def reason_for_none(patients: Sequence[str], *, estimate: str, unit: str) -> str | None:
    """Return why no interval can be given, None where one can."""
    if estimate == REGIONS or len(set(patients)) < 2:
        return f"one {one_of(unit)}: no estimate on unseen {unit}"
    return None


class PatientDraws:
    """Resamples of patients, the same ones for every metric, so that intervals belong together."""

    def __init__(self, patients: Sequence[str], *, resamples: int, seed: int) -> None:
        self.names = np.unique(np.asarray(patients, dtype=str))
        self.resamples, self.seed = resamples, seed

    def owners(self, patients: Sequence[str]) -> NDArray[np.intp]:
        """Return the number of each item's patient, shape (n,)."""
        return np.searchsorted(self.names, np.asarray(patients, dtype=str))

    def gather(self, values: NDArray[np.number], patients: Sequence[str]) -> Floats:
        """Sum values (n, ...) a patient, shape (patients, ...)."""
        summed = np.zeros((self.names.size, *values.shape[1:]))
        np.add.at(summed, self.owners(patients), values)
        return summed

    def of_counts(
        self,
        counts: NDArray[np.int64],
        patients: Sequence[str],
        metrics: Mapping[str, Metric],
    ) -> dict[str, Floats]:
        """Return each metric of each resample, shape (resamples, ...).

        `counts` (n, classes, classes) belong to `patients` (n,), in which one may come twice; a
        metric takes the sums (resamples, classes, classes).
        """
        table = self.gather(counts, patients)
        flat = table.reshape(len(table), -1)
        rows = max(1, _BLOCK_CELLS // flat.shape[1])
        parts: dict[str, list[Floats]] = {name: [] for name in metrics}
        for weights in self._weights():
            for start in range(0, len(weights), rows):
                # Whole numbers below 2**53 in float64: exact, whatever the BLAS does.
                sums = (weights[start : start + rows] @ flat).astype(np.int64)
                for name, metric in metrics.items():
                    parts[name].append(metric(sums.reshape(-1, *table.shape[1:])))
        return {name: np.concatenate(part) for name, part in parts.items()}

    def of_means(self, values: Floats, patients: Sequence[str]) -> Floats:
        """Return the mean of values (n,) of each resample, NaN left out, shape (resamples,)."""
        known = ~np.isnan(values)
        pairs = np.stack([np.where(known, values, 0.0), known.astype(np.float64)], axis=1)
        table = self.gather(pairs, patients)
        sums = np.concatenate([w @ table for w in self._weights()])
        return np.divide(
            sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0
        )

    def of_auroc(
        self, scores: NDArray[np.floating], truth: NDArray[np.integer], patients: Sequence[str]
    ) -> Floats:
        """Return each class's area under the ROC curve of each resample, (resamples, classes).

        Time grows with resamples times patients², not with tiles.
        """
        columns = [
            self.of_ranking(scores[:, k], truth == k, patients) for k in range(scores.shape[1])
        ]
        return np.stack(columns, axis=1)

    def of_ranking(
        self, scores: NDArray[np.floating], positive: NDArray[np.bool_], patients: Sequence[str]
    ) -> Floats:
        """Return the area under the ROC curve of scores (n,) of each resample, (resamples,)."""
        owner, size = self.owners(patients), self.names.size
        won = pairs_won(scores, positive, owner, size)
        ups = np.bincount(owner[positive], minlength=size).astype(np.float64)
        downs = np.bincount(owner[~positive], minlength=size).astype(np.float64)
        parts = [
            (np.einsum("rp,rp->r", w @ won, w), (w @ ups) * (w @ downs)) for w in self._weights()
        ]
        top, pairs = (np.concatenate(part) for part in zip(*parts, strict=True))
        return np.divide(top, pairs, out=np.full(top.shape, np.nan), where=pairs > 0)

    def _weights(self) -> Iterator[Floats]:
        """Yield how often each patient is drawn, (block, patients); the same at every call."""
        rng = np.random.default_rng(self.seed)
        size = self.names.size
        block = max(1, _BLOCK_CELLS // size)
        for start in range(0, self.resamples, block):
            rows = min(block, self.resamples - start)
            drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
            yield np.bincount(drawn.ravel(), minlength=rows * size).reshape(
                rows, size
            ) * np.float64(1)


def bounds(samples: Floats) -> tuple[Floats, Floats]:
    """Return the 2.5th and 97.5th percentile over the first axis, NaN where none can be said.

    A resample may hold nothing of a class, and its score is then NaN and left out. Where a fifth
    of them or more are NaN, the class rests on one patient (who is absent from a quarter of the
    resamples of two patients, and from 1/e of those of many, while two patients are both absent
    from 1/e² = 0.14 at most), and there is no interval.
    """
    known = ~np.isnan(samples)
    said = known.mean(axis=0) > _DEFINED_SHARE
    filled = np.where(known | ~said, samples, np.nan)
    safe = np.where(said, filled, 0.0)
    low, high = np.nanquantile(safe, (0.025, 0.975), axis=0)
    return np.where(said, low, np.nan), np.where(said, high, np.nan)
