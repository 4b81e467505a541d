"""One pass of a model over a split: what it says of every example, and nothing kept twice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from wsi_vit.ahead import done_ahead
from wsi_vit.datasets.example import Example, Examples, Task
from wsi_vit.errors import DatasetError, ModelError
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.metrics import count_pairs
from wsi_vit.models.model import Batch, Model

Observer = Callable[[Sequence[Example]], None]
"""Sees every batch of decoded examples on its way to the model, in order."""


class SplitExamples(Protocol):
    """One split, whose names are known without decoding a picture.

    The names are `Sequence[str]`; they are typed Any because a type checker takes no
    `cached_property` for a property.
    """

    @property
    def keys(self) -> Any:
        """Names of the examples."""
        ...

    @property
    def slide_ids(self) -> Any:
        """The slide of each example."""
        ...

    @property
    def patients(self) -> Any:
        """The patient of each example."""
        ...

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Return the examples at these positions, decoded, in this order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Who each example belongs to; all of one length."""

    indices: NDArray[np.intp]
    """Position of each example in its split."""
    keys: tuple[str, ...]
    slides: tuple[str, ...]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTiles:
    """What a classifier says of a split."""

    names: Names
    truth: NDArray[np.int64]
    """Training ids, shape (n,)."""
    scores: NDArray[np.float32]
    """Shape (n, classes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredLabels:
    """What a model of several labels an image says of a split."""

    names: Names
    presence: NDArray[np.uint8]
    """What is true: 1 present, 0 absent, 255 not known; shape (n, labels)."""
    scores: NDArray[np.float32]
    """Shape (n, labels), each from 0 to 1 by itself."""
    thresholds: tuple[float, ...]
    """Scores from which on each label is called present."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedMasks:
    """What a segmenter says of a split, as pixel counts: never all masks at once."""

    names: Names
    counts: NDArray[np.int64]
    """Confusion counts an example, shape (n, classes, classes)."""


def score_tiles(
    model: Model,
    examples: SplitExamples,
    *,
    batch_size: int,
    observe: Observer | None = None,
) -> ScoredTiles:
    """Return every labelled example's scores; those whose class is ignored (255) are left out.

    Raises:
        DatasetError: The split holds nothing that can be scored.
        ModelError: The model's scores are not finite, or not of the label map's classes.
    """
    truth: list[int] = []
    scores: list[NDArray[np.float32]] = []
    for batch, raw in run_model(model, examples, batch_size=batch_size, observe=observe):
        truth += [int(example.target) for example in batch]
        scores.append(raw.float().cpu().numpy())
    known = np.flatnonzero(np.array(truth, dtype=np.int64) != IGNORE_ID)
    if not known.size:
        raise _nothing_to_score()
    return ScoredTiles(
        names=_names(examples, known),
        truth=np.array(truth, dtype=np.int64)[known],
        scores=np.concatenate(scores)[known],
    )


def score_labels(
    model: Model,
    examples: SplitExamples,
    *,
    batch_size: int,
    observe: Observer | None = None,
) -> ScoredLabels:
    """Return the scores of every example of which some label is known.

    Raises:
        DatasetError: The split holds nothing that can be scored.
        ModelError: The model's scores are not finite, or not of the label map's labels.
    """
    presence: list[NDArray[np.uint8]] = []
    scores: list[NDArray[np.float32]] = []
    for batch, raw in run_model(model, examples, batch_size=batch_size, observe=observe):
        presence += [example.target for example in batch]
        scores.append(raw.float().cpu().numpy())
    known = [place for place, shown in enumerate(presence) if (shown != IGNORE_ID).any()]
    if not known:
        raise _nothing_to_score()
    told: Any = model  # this kind alone has thresholds
    return ScoredLabels(
        names=_names(examples, np.array(known)),
        presence=np.stack(presence)[known],
        scores=np.concatenate(scores)[known],
        thresholds=tuple(told.thresholds),
    )


def count_masks(
    model: Model,
    examples: SplitExamples,
    *,
    batch_size: int,
    observe: Observer | None = None,
) -> CountedMasks:
    """Return every example's pixel counts, at the truth's own resolution.

    The scores are resized to the mask (bilinear) before the class is taken, so that no truth is
    resampled and models of different input sizes are compared on the same pixels.

    Raises:
        DatasetError: The split is empty, or every pixel of it is ignored.
        ModelError: The model's scores are not finite, or not of the label map's classes.
    """
    classes = len(model.labels)
    counts: list[NDArray[np.int64]] = []
    for batch, raw in run_model(model, examples, batch_size=batch_size, observe=observe):
        for example, mask in zip(batch, masks_of(raw, batch), strict=True):
            counts.append(count_pairs(example.target, mask, classes))
    if not sum(int(table.sum()) for table in counts):
        raise _nothing_to_score()
    names = _names(examples, np.arange(len(examples)))
    return CountedMasks(names=names, counts=np.stack(counts))


def run_model(
    model: Model,
    examples: SplitExamples,
    *,
    batch_size: int,
    observe: Observer | None = None,
) -> Iterator[tuple[list[Example], Tensor]]:
    """Yield batches with their scores, in order; the next batch is decoded while the model works.

    The model is left in the mode (training or not) it was found in.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    try:
        for batch, tensors in decoded_ahead(model, examples, batch_size):
            if observe:
                observe(batch)
            with torch.inference_mode():
                scores = model.scores(tensors["images"].to(device))
            yield batch, _checked(scores, len(model.labels), model.task)
    finally:
        model.train(was_training)


def masks_of(scores: Tensor, examples: Sequence[Example]) -> list[NDArray[np.uint8]]:
    """Return the class of each pixel (h, w) of each example, at the size of its own mask.

    `scores` is (B, classes, H, W).
    """
    masks: list[NDArray[np.uint8]] = []
    for one, example in zip(scores, examples, strict=True):
        size = example.target.shape
        fits = one.shape[-2:] == size
        full = one if fits else interpolate(one[None].float(), size=size, mode="bilinear")[0]
        masks.append(full.argmax(dim=0).to(torch.uint8).cpu().numpy())
    return masks


def decoded_ahead(
    model: Model, examples: Examples, batch_size: int
) -> Iterator[tuple[list[Example], Batch]]:
    """Yield batches in order, the next decoded while whoever takes them works."""

    def read(start: int) -> tuple[list[Example], Batch]:
        batch = examples.__getitems__(range(start, min(start + batch_size, len(examples))))
        return batch, model.collate(batch)

    return done_ahead(read, range(0, len(examples), batch_size), threads=1, ahead=1)


def _checked(scores: Tensor, classes: int, task: Task) -> Tensor:
    rank = 4 if task == "segmentation" else 2
    if scores.ndim != rank or scores.shape[1] != classes:
        raise ModelError(
            f"The model's scores do not fit a {task} of {classes} classes",
            got=tuple(scores.shape),
            remedy="Evaluate it with the label map it was trained with",
        )
    if not bool(torch.isfinite(scores).all()):
        raise ModelError(
            "The model's scores hold NaN or infinity",
            got=f"{int((~torch.isfinite(scores)).sum())} of {scores.numel()}",
            remedy="The weights are damaged or the training diverged; take an earlier checkpoint",
        )
    return scores


def _names(examples: SplitExamples, kept: NDArray[np.intp]) -> Names:
    def pick(items: Sequence[str]) -> tuple[str, ...]:
        return tuple(str(items[int(i)]) for i in kept)

    return Names(
        indices=kept,
        keys=pick(examples.keys),
        slides=pick(examples.slide_ids),
        patients=pick(examples.patients),
    )


def _nothing_to_score() -> DatasetError:
    return DatasetError(
        "The split holds no labelled example",
        remedy="Evaluate another split, or label more of the slides",
    )


def check_labels(model: Model, labels: LabelMap, task: Task) -> None:
    """Refuse a model that answers another question than the data ask.

    Raises:
        ModelError: Task or class names differ.
    """
    if model.task != task or model.labels.names != labels.names:
        raise ModelError(
            "The model was trained for other classes than the data hold",
            got=f"{model.task}: {', '.join(model.labels.names)}",
            known=[f"{task}: {', '.join(labels.names)}"],
            remedy="Evaluate it on a dataset built with its own label map",
        )
