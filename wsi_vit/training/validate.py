"""One pass over the validation split: its mean loss, its counts, and the metric that selects."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, closing

import numpy as np
import torch
from numpy.typing import NDArray

from wsi_vit.errors import TrainingError
from wsi_vit.labels import LabelMap
from wsi_vit.metrics import Counts, count_pairs, macro_f1, mean_iou
from wsi_vit.models.model import Batch, Model
from wsi_vit.training.batches import BatchReader, Loaded, to_device
from wsi_vit.training.order import cut
from wsi_vit.training.pace import Pace
from wsi_vit.training.records import Validation
from wsi_vit.training.section import Metric, selection_metric


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
    counts = np.zeros((len(model.labels), len(model.labels)), np.int64)
    loss_sum = 0.0
    batches = judges.read(cut(range(len(judges)), batch_size))
    with closing(pace.timed(batches)) as timed:
        for loaded in timed:
            before_batch()
            with pace.working(), torch.no_grad(), precision():
                batch = to_device(loaded.batch, device)
                loss = model.loss(batch).item()
                predicted = _predict(model, batch)
            if not math.isfinite(loss):
                raise _not_finite(loss, loaded)
            loss_sum += loss * len(loaded.keys)
            counts += count_pairs(_bytes(loaded.batch["targets"]), predicted, len(model.labels))
    return summarise(counts, loss=loss_sum / len(judges), model=model)


def summarise(counts: Counts, *, loss: float, model: Model) -> Validation:
    """Make the record of a pass; the background of the label map is left out of mean IoU."""
    metric = selection_metric(model.task)
    value = metric_value(metric, counts, model.labels, loss=loss)
    table = tuple(tuple(int(item) for item in row) for row in counts)
    return Validation(loss=loss, metric=metric, value=value, counts=table)


def metric_value(metric: Metric, counts: Counts, labels: LabelMap, *, loss: float) -> float | None:
    """Return the metric that selects the best epoch; None where no class is present.

    Of pre-training it is the share of the hidden patches' variance that is predicted: 1 less the
    loss, whose targets have variance 1.
    """
    if metric == "explained":
        return 1.0 - loss
    found = macro_f1(counts) if metric == "macro_f1" else mean_iou(counts, labels.background_id)
    return None if np.isnan(found) else float(found)


def _predict(model: Model, batch: Batch) -> NDArray[np.uint8]:
    return _bytes(model.scores(batch["images"]).argmax(dim=1))


def _bytes(ids: torch.Tensor) -> NDArray[np.uint8]:
    return ids.to(torch.uint8).cpu().numpy()


def _not_finite(loss: float, loaded: Loaded) -> TrainingError:
    return TrainingError(
        "The validation loss is not finite",
        got=f"{loss}, images {', '.join(loaded.keys[:8])}",
        remedy="Look at these images; else lower the learning rate or use fp32",
    )
