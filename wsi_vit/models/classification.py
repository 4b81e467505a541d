"""What all models of one class an image share: loss, scores, and what learns."""

from abc import abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import read_json
from wsi_vit.models.tuned import TunedModel
from wsi_vit.models.vit.transformer import cross_entropy


class ImageClassifier(TunedModel):
    """An image classifier; scores are (B, classes)."""

    section: Any
    """An `ImageSection`; each kind says which."""

    def answer(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of uint8 images (B, 3, H, W)."""
        return self.logits(images)

    def loss_of(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits; examples with target 255 are left out.

        A batch with no known target has loss 0 and no gradient.
        """
        return cross_entropy(
            answer.float(),
            self._targets(targets),
            class_weights=self._class_weights,
            smoothing=self.section.label_smoothing,
        )

    def scores_of(self, answer: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """Return class probabilities (B, classes), float32."""
        return answer.float().softmax(-1)

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of uint8 images (B, 3, H, W)."""

    @abstractmethod
    def head_layer(self) -> nn.Module:
        """Return the layer that makes logits of the pooled features, whichever network has it."""

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return what the head sees of uint8 images (B, 3, H, W): float32 (B, features)."""
        with self.seen_by_head() as seen:
            self.logits(images)
        return seen[0]

    @contextmanager
    def seen_by_head(self) -> Generator[list[Tensor]]:
        """Collect what the head sees, float32 (B, features), one tensor a forward pass."""
        seen: list[Tensor] = []

        def note(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0].detach().flatten(1).float())

        watching = self.head_layer().register_forward_pre_hook(note)
        try:
            yield seen
        finally:
            watching.remove()


def same_names(folder: Path, labels: LabelMap) -> bool:
    """Say whether a checkpoint's head was trained for these very classes."""
    names = read_json(folder / "config.json").get("id2label") or {}
    return tuple(names.get(str(index)) for index in range(len(names))) == labels.names
