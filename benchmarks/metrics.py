"""How long it takes to count one mask's pixels, beside one bare bincount and Hugging Face evaluate.

    python -m benchmarks.metrics [--quick] [--json]

`vs_bincount`: our time over that of the shortest NumPy code that gives the same table (one
`bincount` of 16-bit pairs), no ids checked, none ignored; goal <= 1.3. `vs_evaluate`: the time of
evaluate's `mean_iou` over ours; goal >= 25; null where `evaluate` or its metric's code is not here.
`bootstrap_s`, `auroc_s`: 10,000 resamples of 2,000 tiles of 120 patients in 9 classes.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.telling import options, tell
from wsi_vit.evaluation.intervals import PatientDraws
from wsi_vit.evaluation.tables import count_by
from wsi_vit.metrics import accuracy, count_pairs, iou_per_class, macro_f1, mean_present

CLASSES, SIDE_PX, BLOCK_PX = 150, 512, 16

Masks = NDArray[np.uint8]


def blocky_masks(count: int) -> tuple[Masks, Masks]:
    """Return truth and prediction (count, 512, 512): blocks, as masks are, 15 % of them wrong."""
    rng = np.random.default_rng(0)
    shape = (count, SIDE_PX // BLOCK_PX, SIDE_PX // BLOCK_PX)
    truth = rng.integers(0, CLASSES, shape, dtype=np.uint8)
    other = rng.integers(0, CLASSES, shape, dtype=np.uint8)
    prediction = np.where(rng.random(shape) < 0.15, other, truth)
    tall, wide = (np.repeat(np.repeat(m, BLOCK_PX, 1), BLOCK_PX, 2) for m in (truth, prediction))
    return tall, wide


def ours(truth: Masks, prediction: Masks) -> float:
    """Return the mean IoU as the evaluation finds it."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    for one, other in zip(truth, prediction, strict=True):
        counts += count_pairs(one, other, CLASSES)
    return float(mean_present(iou_per_class(counts)))


def bare_bincount(truth: Masks, prediction: Masks) -> float:
    """Return the mean IoU from the shortest code that counts the same."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    for one, other in zip(truth, prediction, strict=True):
        pairs = one.ravel().astype(np.uint16) * np.uint16(CLASSES) + other.ravel()
        counts += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    return float(mean_present(iou_per_class(counts)))


def evaluate_metric() -> Callable[[Masks, Masks], float] | None:
    """Return Hugging Face's metric, None where it or its code is not installed."""
    try:
        import evaluate  # pyright: ignore[reportMissingImports]

        metric = evaluate.load("mean_iou")
    except (ImportError, OSError, ValueError) as error:
        print(f"no peer: {error.__class__.__name__}: {error}", file=sys.stderr)
        return None

    def run(truth: Masks, prediction: Masks) -> float:
        found = metric.compute(
            predictions=list(prediction),
            references=list(truth),
            num_labels=CLASSES,
            ignore_index=255,
        )
        return float(found["mean_iou"])

    return run


def seconds(job: Callable[[], object]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def interleaved(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return each job's seconds, one round after the other, so that all share the same weather."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(seconds(job))
    return times


def ratio(top: list[float], bottom: list[float]) -> float:
    """Return the median over rounds of top over bottom."""
    return round(statistics.median(a / b for a, b in zip(top, bottom, strict=True)), 3)


def measure_counting(*, quick: bool) -> dict[str, float | None]:
    """Time the counting beside its peers."""
    truth, prediction = blocky_masks(20 if quick else 100)
    few = slice(0, 2 if quick else 4)
    peer = evaluate_metric()
    assert ours(truth, prediction) == bare_bincount(truth, prediction)
    jobs: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(truth, prediction),
        "bincount": lambda: bare_bincount(truth, prediction),
    }
    if peer is not None:
        jobs["few"] = lambda: ours(truth[few], prediction[few])
        jobs["evaluate"] = lambda: peer(truth[few], prediction[few])
    times = interleaved(jobs, rounds=7 if quick else 15)
    return {
        "vs_bincount": ratio(times["ours"], times["bincount"]),
        "vs_evaluate": ratio(times["evaluate"], times["few"]) if peer is not None else None,
        "ms_per_mask": round(1e3 * statistics.median(times["ours"]) / len(truth), 3),
    }


def measure_intervals(*, quick: bool) -> dict[str, float]:
    """Time the bootstrap of a usual test split."""
    rng = np.random.default_rng(0)
    patients = [f"p{i % 120}" for i in range(2000)]
    truth, scores = rng.integers(0, 9, 2000), rng.dirichlet(np.ones(9), 2000)
    names, counts = count_by(patients, truth, scores.argmax(axis=1), 9)
    draws = PatientDraws(patients, resamples=10_000, seed=0)
    scored = {"macro_f1": macro_f1, "accuracy": accuracy}
    times = interleaved(
        {
            "bootstrap_s": lambda: draws.of_counts(counts, names, scored),
            "auroc_s": lambda: draws.of_auroc(scores, truth, patients),
        },
        rounds=3 if quick else 7,
    )
    return {name: round(statistics.median(found), 3) for name, found in times.items()}


def main() -> None:
    """Measure, print, and keep the result of a full run."""
    asked = options(__doc__, quick="the same keys in seconds").parse_args()
    figures = measure_counting(quick=asked.quick) | measure_intervals(quick=asked.quick)
    tell("metrics", figures, asked, also=f"numpy {np.__version__}")


if __name__ == "__main__":
    main()
