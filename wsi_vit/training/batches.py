"""Reading batches ahead in their order, moving them, and counting what they show."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.datasets.example import Examples
from wsi_vit.models.model import Batch, Model
from wsi_vit.training.order import cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A batch on the host, with the names of its examples."""

    number: int
    """Of its epoch, from 0."""
    batch: Batch
    keys: tuple[str, ...]


def read_ahead(
    examples: Examples,
    batches: Sequence[Sequence[int]],
    *,
    model: Model,
    workers: int,
    first: int = 0,
) -> Generator[Loaded]:
    """Yield batches `first`, `first + 1`, … decoded and stacked, in order, read by threads.

    Twice as many batches as threads are under way; an error surfaces at the batch it belongs to.
    """

    def load(number: int) -> Loaded:
        chosen = examples.__getitems__(list(batches[number]))
        keys = tuple(example.key for example in chosen)
        return Loaded(number=number, batch=_pinned(model.collate(chosen)), keys=keys)

    return _in_order(load, range(first, len(batches)), workers=workers)


def _in_order(
    load: Callable[[int], Loaded], numbers: Sequence[int], *, workers: int
) -> Generator[Loaded]:
    if workers == 0:
        yield from map(load, numbers)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="read-ahead") as pool:
        waiting: deque[Future[Loaded]] = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(load, number))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # whoever stops early does not wait for what nobody will see
            for future in waiting:
                future.cancel()


def _pinned(batch: Batch) -> Batch:
    """Move a batch to pinned memory where there is a card to copy it to."""
    if not torch.cuda.is_available():
        return batch
    return {"images": batch["images"].pin_memory(), "targets": batch["targets"].pin_memory()}


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Copy a batch to a device; from pinned memory the copy runs beside the kernels."""
    return {
        "images": batch["images"].to(device, non_blocking=True),
        "targets": batch["targets"].to(device, non_blocking=True),
    }


def part(batch: Batch, start: int, stop: int) -> Batch:
    """Return examples `start` to `stop` of a batch, without a copy."""
    return {"images": batch["images"][start:stop], "targets": batch["targets"][start:stop]}


def known_counts(examples: Examples, classes: int) -> NDArray[np.int64] | None:
    """Return what a dataset has counted in each example, (n, classes); None where it has not."""
    counts = getattr(examples, "counts", None)  # (n, classes + 1), ignored targets last
    return None if counts is None else np.asarray(counts, np.int64)[:, :classes]


def count_targets(examples: Examples, *, model: Model, workers: int) -> NDArray[np.int64]:
    """Read a split and count each example's targets, (n, classes), pixels or 1; 255 is left out."""
    classes = len(model.labels)
    rows: list[NDArray[np.int64]] = []
    batches = cut(range(len(examples)), 64)
    for loaded in read_ahead(examples, batches, model=model, workers=workers):
        each = loaded.batch["targets"].view(len(loaded.keys), -1)
        rows += [targets.bincount(minlength=256)[:classes].numpy() for targets in each]
    return np.stack(rows)


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """Return weights inverse to each class's share, whose mean over the targets is 1.

    King and Zeng 2001 (as scikit-learn's `balanced`), over the classes that occur; a class that
    never occurs weighs 1.
    """
    found = torch.tensor(counts, dtype=torch.float64)
    present = found > 0
    weights = found.sum() / (present.sum() * found.clamp(min=1))
    return torch.where(present, weights, torch.ones(())).float()
