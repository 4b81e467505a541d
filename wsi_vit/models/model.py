"""What the training loop, the evaluation and the prediction need from a model, and nothing more."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from wsi_vit.datasets.example import Example, Task
from wsi_vit.labels import LabelMap


class Batch(TypedDict):
    """Examples as tensors, before any normalisation: the augmentation works on these."""

    images: Tensor
    """uint8 (B, 3, H, W), RGB."""
    targets: Tensor
    """int64 (B,) class ids, (B, H, W) masks, or (B, labels) of several labels an image, 1 present
    and 0 absent; 255 is ignored."""


class Model(Protocol):
    """A `torch.nn.Module` that can be trained, asked, saved and loaded again."""

    labels: LabelMap
    task: Task
    input_px: int
    """Side of the square image it works on; other sizes are resized to it inside."""
    training: bool

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Stack examples into a batch of uint8 images, resized to `input_px` where they differ."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, a scalar; normalises the images on their device."""
        ...

    def weigh_classes(self, weights: Tensor | None) -> None:
        """Weigh classes in the loss, (classes,) float; None weighs all alike.

        Of several labels an image it is their positives that are weighed.
        """
        ...

    def progress(self, share: float) -> None:
        """Take note, before each step, that a share (0 to 1) of the training is done.

        What follows from it is kept in `state_dict`, so that a resumed model goes on alike.
        """
        ...

    def scores(self, images: Tensor) -> Tensor:
        """Return softmax-like float32 scores of uint8 images (B, 3, H, W).

        (B, classes) for classification, (B, classes, H, W) for segmentation; for mask models the
        product of class and mask probabilities, normalised to sum to 1 over classes. For several
        labels an image (B, labels), each from 0 to 1 by itself.
        """
        ...

    def loss_and_scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what `loss` and `scores` return of a batch, from one forward pass."""
        ...

    def parameters(self) -> Iterator[Parameter]:
        """Return what the optimiser may change."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Return the parameters with their names."""
        ...

    def backbone_parameters(self) -> Iterable[Parameter]:
        """Return the pretrained part, which a frozen start or a lower rate applies to."""
        ...

    def compiled_parts(self) -> Sequence[nn.Module]:
        """Return the modules whose forward passes are nearly all of a loss, to be compiled."""
        ...

    def recompute_blocks(self) -> None:
        """Keep a block's input alone for the backward pass; losses and gradients stay the same.

        Raises:
            ModelError: The model cannot.
        """
        ...

    def remember_blocks(self) -> None:
        """Take `recompute_blocks` back."""
        ...

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors, labels.json and preprocessing.json; no pickle."""
        ...

    def train(self, mode: bool = True) -> Any:  # noqa: FBT001, FBT002  (torch's own signature)
        """Switch dropout and its like on."""
        ...

    def eval(self) -> Any:
        """Switch dropout and its like off."""
        ...

    def to(self, device: torch.device | str) -> Any:
        """Move every tensor to a device."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return all tensors by name."""
        ...
