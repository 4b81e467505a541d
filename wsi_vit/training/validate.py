"""One pass over the validation split: its mean loss, its counts, and the metric that selects."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.errors import TrainingError
from wsi_vit.labels import LabelMap
from wsi_vit.metrics import (
    Counts,
    average_precision_per_label,
    count_pairs,
    macro_f1,
    mean_iou,
    mean_present,
)
from wsi_vit.models.model import Model
from wsi_vit.training.batches import BatchReader, Loaded, to_device
from wsi_vit.training.order import cut
from wsi_vit.training.pace import Pace
from wsi_vit.training.records import Validation
from wsi_vit.training.section import Metric, selection_metric

_EVEN = 0.5
"""The score that is neither yes nor no."""


def validate(
    model: Model,
    judges: BatchReader,
    *,
    batch_size: int,
    pace: Pace,
    precision: Callable[[], AbstractContextManager[None]],
    before_batch: Callable[[], None],
) -> Validation:
    """Score a model on a split, in order and without augmentation; it is in eval mode on return.

    `pace` takes note of the time; `precision` opens the context of the forward pass;
    `before_batch` may raise to stop.

    Raises:
        TrainingError: The loss of a batch is not finite; its examples are named.
    """
    model.eval()
    device = next(iter(model.parameters())).device
    tally = _Labels() if model.task == "multi_label" else _Classes(len(model.labels))
    loss_sum = 0.0
    batches = judges.read(cut(range(len(judges)), batch_size))
    with closing(pace.timed(batches)) as timed:
        for loaded in timed:
            before_batch()
            with pace.working(), torch.no_grad(), precision():
                batch = to_device(loaded.batch, device)
                loss, scores = model.loss_and_scores(batch)
                tally.add(scores, loaded.batch["targets"])
            if not loss.isfinite():
                raise _not_finite(loss.item(), loaded)
            loss_sum += loss.item() * len(loaded.keys)
    return tally.summary(loss=loss_sum / len(judges), model=model)


class _Tally(Protocol):
    """What a pass finds."""

    def add(self, scores: Tensor, targets: Tensor) -> None:
        """Take a batch in."""
        ...

    def summary(self, *, loss: float, model: Model) -> Validation:
        """Return the record of the pass."""
        ...


class _Classes(_Tally):
    """Confusion counts of images or of pixels."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, scores: Tensor, targets: Tensor) -> None:
        """Count a batch."""
        self.counts += count_pairs(_bytes(targets), _bytes(scores.argmax(dim=1)), len(self.counts))

    def summary(self, *, loss: float, model: Model) -> Validation:
        """Return the counts, and the metric; background is left out of mean IoU."""
        metric = selection_metric(model.task)
        value = metric_value(metric, self.counts, model.labels, loss=loss)
        return Validation(loss=loss, metric=metric, value=value, counts=_plain(self.counts))


class _Labels(_Tally):
    """Scores of several labels an image: how they rank is judged, which no threshold decides."""

    def __init__(self) -> None:
        self.scores: list[NDArray[np.float32]] = []
        self.targets: list[NDArray[np.uint8]] = []

    def add(self, scores: Tensor, targets: Tensor) -> None:
        """Keep a batch's scores and targets, (B, labels)."""
        self.scores.append(scores.float().cpu().numpy())
        self.targets.append(_bytes(targets))

    def summary(self, *, loss: float, model: Model) -> Validation:
        """Return the mean average precision, and of each label what 0.5 would have called."""
        scores, targets = np.concatenate(self.scores), np.concatenate(self.targets)
        found = mean_present(average_precision_per_label(scores, targets))
        called = (scores >= _EVEN).astype(np.uint8)
        tables = [count_pairs(*pair, 2).ravel() for pair in zip(targets.T, called.T, strict=True)]
        return Validation(
            loss=loss,
            metric=selection_metric(model.task),
            value=None if np.isnan(found) else float(found),
            counts=_plain(np.stack(tables)),
        )


def metric_value(metric: Metric, counts: Counts, labels: LabelMap, *, loss: float) -> float | None:
    """Return the metric that selects the best epoch; None where no class is present.

    Of pre-training it is the share of the hidden patches' variance that is predicted: 1 less the
    loss, whose targets have variance 1.
    """
    if metric == "explained":
        return 1.0 - loss
    found = macro_f1(counts) if metric == "macro_f1" else mean_iou(counts, labels.background_id)
    return None if np.isnan(found) else float(found)


def _plain(counts: Counts) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(item) for item in row) for row in counts)


def _bytes(ids: torch.Tensor) -> NDArray[np.uint8]:
    return ids.to(torch.uint8).cpu().numpy()


def _not_finite(loss: float, loaded: Loaded) -> TrainingError:
    return TrainingError(
        "The validation loss is not finite",
        got=f"{loss}, images {', '.join(loaded.keys[:8])}",
        remedy="Look at these images; else lower the learning rate or use fp32",
    )
