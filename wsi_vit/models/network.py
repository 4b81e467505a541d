"""What all models around a transformers network share."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from wsi_vit.datasets.example import Example, Task
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import quiet
from wsi_vit.models.folder import save_folder
from wsi_vit.models.lora import merged, without_adapters
from wsi_vit.models.model import Batch
from wsi_vit.models.pixels import (
    fit_images,
    fit_masks,
    refuse_odd_images,
    stack_examples,
)
from wsi_vit.models.preprocessing import Preprocessing
from wsi_vit.models.recomputation import recompute, remember
from wsi_vit.models.section import ModelSection


class NetworkModel(nn.Module):
    """A network with its labels and its preprocessing; fulfils `Model`.

    The network is one of transformers, or a kind overrides what is asked of such: `architecture`,
    `transformers_class` and `write_network`.

    Calling it returns the loss, so that wrappers which act on `forward` (distributed training,
    mixed precision) work.
    """

    network: Any
    _mean: Tensor
    _std: Tensor
    _class_weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        section: ModelSection,
        labels: LabelMap,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__()
        self.network = network
        self.section = section
        self.labels = labels
        self.task: Task = section.task
        self.input_px = preprocessing.input_px
        self.preprocessing = preprocessing
        self._keep("_mean", 255 * torch.tensor(preprocessing.mean).view(3, 1, 1))
        self._keep("_std", 255 * torch.tensor(preprocessing.std).view(3, 1, 1))
        self._keep("_class_weights", torch.ones(len(labels)))

    @staticmethod
    @abstractmethod
    def drawn(section: Any, options: Mapping[str, Any], labels: LabelMap) -> nn.Module:
        """Return a network of random weights, for the options of a `config` start."""

    @staticmethod
    @abstractmethod
    def begun(section: Any, folder: Path, labels: LabelMap) -> nn.Module:
        """Return a network whose pretrained part is a checkpoint's."""

    @staticmethod
    @abstractmethod
    def restored(section: Any, folder: Path, labels: LabelMap) -> nn.Module:
        """Return the network of a model that was saved, every tensor of it."""

    @property
    def parameter_count(self) -> int:
        """How many numbers the model consists of."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def trained_count(self) -> int:
        """How many of them learn."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def architecture(self) -> str:
        """What the network is called, in transformers' words where it has some."""
        return self.network.config.model_type

    @property
    def transformers_class(self) -> str | None:
        """The class of transformers that reads a saved model's network, if there is one."""
        return type(self.network).__name__

    @property
    def accepts(self) -> str:
        """What images it takes, in words."""
        return f"RGB of any size, brought to {self.input_px} x {self.input_px} px inside"

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Stack examples into a batch of uint8 images, resized to `input_px` where they differ."""
        return stack_examples(examples, labels=self.labels, task=self.task, side_px=self.input_px)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, a scalar; `loss_of` says which."""
        return self.loss_of(self.answer(batch["images"]), batch["targets"])

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Return float32 scores of uint8 images (B, 3, H, W); `scores_of` says which."""
        return self.scores_of(self.answer(images), images)

    @torch.no_grad()
    def loss_and_scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what `loss` and `scores` return of a batch, from one forward pass."""
        answer = self.answer(batch["images"])
        return self.loss_of(answer, batch["targets"]), self.scores_of(answer, batch["images"])

    @abstractmethod
    def answer(self, images: Tensor) -> Any:
        """Return what the network says of uint8 images (B, 3, H, W), in its own form."""

    @abstractmethod
    def loss_of(self, answer: Any, targets: Tensor) -> Tensor:
        """Return the mean loss of an answer, a scalar; targets as in `Batch`."""

    @abstractmethod
    def scores_of(self, answer: Any, images: Tensor) -> Tensor:
        """Return the float32 scores that an answer gives to the images it is about."""

    def weigh_classes(self, weights: Tensor | None) -> None:
        """Weigh classes in the loss, (classes,) float; None weighs all alike.

        Raises:
            ModelError: Not one positive number a class.
        """
        count = len(self.labels)
        weights = torch.ones(count) if weights is None else weights.detach().float()
        if weights.shape != (count,) or not (weights.isfinite() & (weights >= 0)).all():
            raise ModelError(
                "Class weights do not fit",
                got=weights.tolist(),
                known=self.labels.names,
                remedy="Give each class one finite weight, 0 or more",
            )
        self._class_weights = weights.to(self._class_weights.device)

    @abstractmethod
    def backbone(self) -> nn.Module:
        """Return the pretrained part."""

    def backbone_parameters(self) -> Iterator[Parameter]:
        """Yield the backbone's parameters that the section leaves trainable."""
        return (p for p in self.backbone().parameters() if id(p) not in self._frozen())

    def progress(self, share: float) -> None:
        """Take note that a share (0 to 1) of the training is done; most models do not mind."""

    def compiled_parts(self) -> Sequence[nn.Module]:
        """Return the modules whose forward passes are nearly all of a loss, to be compiled."""
        return [self.network]

    def recompute_blocks(self) -> None:
        """Keep a block's input alone for the backward pass; losses and gradients stay the same.

        Raises:
            ModelError: The network has no such blocks.
        """
        recompute(self)

    def remember_blocks(self) -> None:
        """Take `recompute_blocks` back."""
        remember(self)

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors, labels.json and preprocessing.json.

        Adapters are merged into the weights: what is saved is a plain model.

        Raises:
            ModelError: The folder cannot be written.
        """
        with merged(self.network):
            save_folder(
                folder,
                write_network=self.write_network,
                head=self.own_head(),
                section=without_adapters(self.section),
                labels=self.labels,
                preprocessing=self.preprocessing,
            )

    def write_network(self, folder: Path) -> None:
        """Write the network alone: config.json and model.safetensors."""
        with quiet():
            self.network.save_pretrained(folder, max_shard_size="1TB")

    def own_head(self) -> nn.Module | None:
        """Return the head that lies outside the network, if any."""
        return None

    def _frozen(self) -> set[int]:
        """Return the identities of parameters that never train."""
        return set()

    def _pixels(self, images: Tensor) -> Tensor:
        """Return normalised float images of the network's size, on its device."""
        refuse_odd_images(images)
        fitted = fit_images(images.to(self._mean.device, non_blocking=True), self.input_px)
        return (fitted - self._mean) / self._std

    def _targets(self, targets: Tensor) -> Tensor:
        targets = targets.to(self._mean.device, non_blocking=True)
        return fit_masks(targets, self.input_px) if targets.ndim == 3 else targets

    def _keep(self, name: str, value: Tensor) -> None:
        """Keep a tensor that moves with the model but is no weight of it."""
        self.register_buffer(name, value, persistent=False)
