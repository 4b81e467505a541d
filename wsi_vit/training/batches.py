"""The order of the images, and reading them ahead in that order."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsi_vit.datasets.example import Examples
from wsi_vit.models.model import Batch, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A batch on the host, with the names of its examples."""

    number: int
    """Of its epoch, from 0."""
    batch: Batch
    keys: tuple[str, ...]


def epoch_order(count: int, *, seed: int, epoch: int) -> list[int]:
    """Return the positions of all examples in the order of an epoch.

    It follows from seed and epoch alone, so a resumed run sees what it would have seen.
    """
    return np.random.default_rng([seed, epoch]).permutation(count).tolist()


def cut(order: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut an order into batches; the last one may be shorter, no image is left out."""
    return [order[start : start + size] for start in range(0, len(order), size)]


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


def count_classes(examples: Examples, *, model: Model, workers: int) -> tuple[int, ...]:
    """Count the targets of each class in a split, images or pixels; 255 is left out."""
    classes = len(model.labels)
    known = getattr(examples, "counts", None)  # (n, classes + 1), where a dataset has counted
    if known is not None:
        return tuple(int(count) for count in np.asarray(known).sum(axis=0)[:classes])
    total = torch.zeros(classes, dtype=torch.int64)
    batches = cut(range(len(examples)), 64)
    for loaded in read_ahead(examples, batches, model=model, workers=workers):
        total += loaded.batch["targets"].flatten().bincount(minlength=256)[:classes]
    return tuple(int(count) for count in total)


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """Return weights inverse to each class's share, whose mean over the targets is 1.

    King and Zeng 2001 (as scikit-learn's `balanced`), over the classes that occur; a class that
    never occurs weighs 1.
    """
    found = torch.tensor(counts, dtype=torch.float64)
    present = found > 0
    weights = found.sum() / (present.sum() * found.clamp(min=1))
    return torch.where(present, weights, torch.ones(())).float()
