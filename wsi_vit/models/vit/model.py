"""One class an image, by our own Vision Transformer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsi_vit.labels import LabelMap
from wsi_vit.models.attended import Attended, LearnedTokens
from wsi_vit.models.classification import ImageClassifier, same_names
from wsi_vit.models.sections import VitSection
from wsi_vit.models.vit.architecture import Architecture, drawn_architecture, said_by
from wsi_vit.models.vit.beginning import (
    OwnConfig,
    encoder_alone,
    filled,
    is_own,
    new_encoder,
    read_ours,
    read_theirs,
)
from wsi_vit.models.vit.encoded import EncodedModel
from wsi_vit.models.vit.transformer import VisionTransformer, Watched
from wsi_vit.models.vit.weights import read_head

_NEW = ("head.", "encoder.token_learner.")
"""What a checkpoint may lack: it is drawn."""


class Vit(EncodedModel, ImageClassifier):
    """A Vision Transformer of ours, with or without a TokenLearner; scores are (B, classes)."""

    section: VitSection
    network: VisionTransformer

    @staticmethod
    def drawn(
        section: VitSection, options: Mapping[str, Any], labels: LabelMap
    ) -> VisionTransformer:
        """Return a network of random weights."""
        return _network(drawn_architecture(options, section), section, labels)

    @staticmethod
    def begun(section: VitSection, folder: Path, labels: LabelMap) -> VisionTransformer:
        """Return a network with a checkpoint's encoder, and its head where the classes agree.

        Positions are interpolated once, to the patches of the input.
        """
        made_for, tensors = _read(folder, labels, section)
        tensors = tensors if same_names(folder, labels) else encoder_alone(tensors)
        network = _network(said_by(made_for, section), section, labels)
        return filled(network, (made_for, tensors), folder, new=_NEW)

    @staticmethod
    def restored(section: VitSection, folder: Path, labels: LabelMap) -> VisionTransformer:
        """Return the network of a model that was saved, every tensor of it."""
        made_for, tensors = _read(folder, labels, section)
        network = _network(said_by(made_for, section), section, labels)
        return filled(network, (made_for, tensors), folder)

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of uint8 images (B, 3, H, W)."""
        return self.network(self._pixels(images))

    def watched(self, images: Tensor) -> Watched:
        """Return the same logits of uint8 images with attention, tokens and TokenLearner's maps.

        Gradients reach the attention of every block where autograd is on, also of a frozen one.
        """
        pixels = self._pixels(images).requires_grad_(torch.is_grad_enabled())
        return self.network.watched(pixels)

    def attended(self, images: Tensor) -> Attended:
        """Return logits of uint8 images (B, 3, H, W) with the attention that led to them."""
        seen, encoder = self.watched(images), self.network.encoder
        assert seen.logits is not None
        learned = seen.learned and LearnedTokens(seen.learned.maps, encoder.learns_after)
        side = encoder.architecture.along(self.input_px)
        return Attended(
            attention=seen.attention,
            logits=seen.logits,
            grid=(side, side),
            special=encoder.architecture.special,
            pool=self.network.pool,
            learned=learned,
        )

    def head_layer(self) -> nn.Module:
        """Return the layer that makes logits of the pooled features."""
        return self.network.head

    def own_head(self) -> nn.Module | None:
        """Return the head where the saved network has none: it sees what transformers' does not."""
        native = self.network.encoder.architecture.native_pool("native")
        return self.network.head if self._form and self.network.pool != native else None

    def _own_config(self) -> OwnConfig:
        return super()._own_config().model_copy(update={"pool": self.network.pool})


def _network(
    architecture: Architecture, section: VitSection, labels: LabelMap
) -> VisionTransformer:
    encoder = new_encoder(architecture, section, pool=section.pool)
    return VisionTransformer(
        encoder, classes=len(labels), pool=section.pool, dropout=section.dropout
    )


def _read(
    folder: Path, labels: LabelMap, section: VitSection
) -> tuple[Architecture, dict[str, Tensor]]:
    """Return a checkpoint's architecture and its tensors, with a head that sees what ours does."""
    if is_own(folder):
        said, tensors = read_ours(folder, section)
        same = said.pool == said.architecture.native_pool(section.pool)
        return said.architecture, tensors if same else encoder_alone(tensors)
    architecture, tensors = read_theirs(folder, labels)
    native = architecture.native_pool("native")
    return architecture, tensors | read_head(folder, architecture.native_pool(section.pool), native)
