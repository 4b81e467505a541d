"""Batches in their order: read ahead in processes of their own, moved, counted, cut."""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from wsi_vit.datasets.example import Examples
from wsi_vit.errors import TrainingError, WsiVitError
from wsi_vit.models.model import Batch, Model
from wsi_vit.training.order import cut
from wsi_vit.training.processes import die_with_parent

if TYPE_CHECKING:
    from multiprocessing.synchronize import Semaphore

_AHEAD = 2
"""Batches under way in each process."""

Job = tuple[int, Sequence[int]]
"""The number of a batch, and the positions of its examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A batch on the host, with the names of its examples."""

    number: int
    """Of its epoch, from 0."""
    batch: Batch
    keys: tuple[str, ...]

    def pin_memory(self) -> "Loaded":
        """Return it in memory that a card can fetch by itself, beside its kernels."""
        images, targets = self.batch["images"].pin_memory(), self.batch["targets"].pin_memory()
        return replace(self, batch={"images": images, "targets": targets})


class BatchReader:
    """Reads the batches of one split, in order, decoded and stacked; a context manager.

    Its worker processes begin with the first batch and last until it is closed, over all epochs,
    so that what they have opened stays open. What is read follows from what is asked for alone,
    never from how many processes read; 0 reads in this one, in between.
    """

    def __init__(self, examples: Examples, *, model: Model, workers: int) -> None:
        self._jobs = _Jobs(examples, model)
        self._order: list[Job] = []
        self._workers = workers
        self._loader: DataLoader[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def examples(self) -> Examples:
        """What it reads."""
        return self._jobs.examples

    def __len__(self) -> int:
        """Return the examples of the split."""
        return len(self._jobs.examples)

    def read(self, batches: Sequence[Sequence[int]], *, first: int = 0) -> Generator[Loaded]:
        """Yield batches `first`, `first + 1`, …; an error surfaces at the batch it belongs to.

        Raises:
            WsiVitError: What the examples or the model have to say of a batch.
            TrainingError: A worker process ended.
        """
        self._order[:] = [(number, batches[number]) for number in range(first, len(batches))]
        for loaded in self._here() if self._workers == 0 else self._elsewhere():
            if isinstance(loaded, WsiVitError):
                raise loaded
            yield loaded

    def close(self) -> None:
        """End the worker processes."""
        self._loader = None

    def _here(self) -> Iterator[Loaded | WsiVitError]:
        for job in self._order:
            found = self._jobs[job]
            yield found.pin_memory() if _pins() and isinstance(found, Loaded) else found

    def _elsewhere(self) -> Iterator[Loaded | WsiVitError]:
        if self._loader is None:
            self._loader = _loader(self._jobs, self._order, self._workers)
        waiting = iter(self._loader)
        while True:
            try:
                yield next(waiting)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker (pid" not in str(error):
                    raise
                raise _ended(error) from error


class _Jobs:
    """What a worker process does with a job."""

    def __init__(self, examples: Examples, model: Model) -> None:
        self.examples, self.model = examples, model

    def __getitem__(self, job: Job) -> Loaded | WsiVitError:
        number, positions = job
        try:
            chosen = self.examples.__getitems__(positions)
            batch = self.model.collate(chosen)
        except WsiVitError as error:
            return error  # raised where the batch is wanted; what crosses as raised loses its kind
        return Loaded(number=number, batch=batch, keys=tuple(example.key for example in chosen))


def _loader(jobs: _Jobs, order: list[Job], workers: int) -> DataLoader[Any]:
    """Start nothing yet; `order` is looked at anew for every pass."""
    # Forked workers have the examples and the model at once, whatever these are made of.
    fork = "fork" in multiprocessing.get_all_start_methods()
    return DataLoader(
        jobs,  # type: ignore[arg-type]  (jobs are no numbers)
        batch_size=None,
        sampler=order,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=_pins(),
        worker_init_fn=partial(_begin_worker, os.getpid(), _farewell(os.getpid())),
        multiprocessing_context="fork" if fork else None,
        generator=torch.Generator(),  # else every pass would draw from the run's own chance
        prefetch_factor=_AHEAD,
        persistent_workers=True,
    )


def _as_it_is(item: Any) -> Any:
    return item


def _begin_worker(trainer: int, farewell: "Semaphore", _number: int) -> None:
    """Outlive a request to stop, which is the trainer's to answer, but never the trainer."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(trainer, by=signal.SIGKILL)
    threading.Thread(target=_heed, args=(farewell,), daemon=True).start()


def _heed(farewell: "Semaphore") -> None:
    farewell.acquire()
    os._exit(0)


@cache
def _farewell(_trainer: int) -> "Semaphore":
    """Return what a process lets its workers go by when it ends.

    Whatever still holds on to a loader then, as the traceback of an error does, keeps its workers
    waiting for jobs, and Python waits for them without a limit after a SIGTERM, which they ignore.
    """
    farewell = multiprocessing.Semaphore(0)
    atexit.register(_let_go, farewell)
    return farewell


def _let_go(farewell: "Semaphore") -> None:
    for _ in multiprocessing.active_children():
        farewell.release()


def _pins() -> bool:
    return torch.cuda.is_available()


def _ended(error: RuntimeError) -> TrainingError:
    return TrainingError(
        "A process that reads images ended",
        got=str(error).splitlines()[0],
        remedy="Free memory; in a container give it more shared memory (docker --shm-size 1g), or "
        "set `training.workers: 0`",
    )


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


def count_targets(reader: BatchReader, *, classes: int) -> NDArray[np.int64]:
    """Read a split and count each example's targets, (n, classes), pixels or 1; 255 is left out."""
    rows: list[NDArray[np.int64]] = []
    for loaded in reader.read(cut(range(len(reader)), 64)):
        each = loaded.batch["targets"].view(len(loaded.keys), -1)
        rows += [targets.bincount(minlength=256)[:classes].numpy() for targets in each]
    return np.stack(rows)


def known_presence(examples: Examples) -> NDArray[np.uint8] | None:
    """Return which labels each example shows, (n, labels), where a dataset knows; else None."""
    presence = getattr(examples, "presence", None)
    return None if presence is None else np.asarray(presence, np.uint8)


def read_presence(reader: BatchReader) -> NDArray[np.uint8]:
    """Read a split; return which labels each example shows: 1, 0, or 255 not known, (n, labels)."""
    batches = reader.read(cut(range(len(reader)), 64))
    return np.concatenate([loaded.batch["targets"].numpy().astype(np.uint8) for loaded in batches])


def positive_weights(presence: NDArray[np.uint8]) -> Tensor:
    """Return what a positive of each label weighs for both sides to weigh alike, (labels,).

    That is negatives divided by positives, of what is known; 1 for a label that lacks either.
    """
    positives, negatives = (presence == 1).sum(axis=0), (presence == 0).sum(axis=0)
    both = (positives > 0) & (negatives > 0)
    return torch.from_numpy(np.where(both, negatives / np.maximum(positives, 1), 1.0)).float()


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """Return weights inverse to each class's share, whose mean over the targets is 1.

    King and Zeng 2001 (as scikit-learn's `balanced`), over the classes that occur; a class that
    never occurs weighs 1.
    """
    found = torch.tensor(counts, dtype=torch.float64)
    present = found > 0
    weights = found.sum() / (present.sum() * found.clamp(min=1))
    return torch.where(present, weights, torch.ones(())).float()
