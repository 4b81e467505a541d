"""Several labels an image, by our own Vision Transformer: one class token a label.

A label's token takes what it needs of the patches in every block, and a linear layer of its own
says of it alone how sure it is of the label. Several class tokens are those of MCTformer (Xu et
al., CVPR 2022), which takes the mean of a token's features for its score. Each begins as the
checkpoint's class token, so that a model of one label begins as a classifier does.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor, nn
from torch.nn import Parameter

from wsi_vit.errors import ModelError
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.models.attended import Attended, LearnedTokens
from wsi_vit.models.classification import same_names
from wsi_vit.models.preprocessing import Preprocessing
from wsi_vit.models.sections import MultiLabelSection
from wsi_vit.models.tuned import TunedModel
from wsi_vit.models.vit.architecture import Architecture, drawn_architecture, said_by
from wsi_vit.models.vit.beginning import (
    encoder_alone,
    filled,
    is_own,
    new_encoder,
    read_ours,
    read_theirs,
)
from wsi_vit.models.vit.encoded import EncodedModel
from wsi_vit.models.vit.transformer import Encoder, Watched

_UNTUNED = 0.5
_NEW = ("heads.", "thresholds", "encoder.token_learner.")
"""What a checkpoint may lack: it is drawn."""


class LabelHeads(nn.Module):
    """A linear layer a label, each of its own token."""

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.weight = Parameter(torch.empty(labels, width))
        self.bias = Parameter(torch.zeros(labels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, labels) of tokens (B, labels, width)."""
        return (tokens * self.weight).sum(-1) + self.bias


class MultiLabelNetwork(nn.Module):
    """An encoder whose first tokens are the labels', and their heads."""

    thresholds: Tensor
    """Scores from which on a label is present, (labels,)."""

    def __init__(self, encoder: Encoder, *, dropout: float = 0.0) -> None:
        super().__init__()
        labels = encoder.architecture.class_tokens
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.heads = LabelHeads(labels, encoder.architecture.width)
        self.register_buffer("thresholds", torch.full((labels,), _UNTUNED))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, labels) of normalised pixels (B, 3, H, W)."""
        tokens = self.encoder.before_norm(pixels)[:, : len(self.thresholds)]
        return self._said(self.encoder.norm(tokens))

    def watched(self, pixels: Tensor) -> Watched:
        """Return the same logits with all that explains them."""
        seen = self.encoder.watched(pixels)
        logits = self._said(seen.tokens[:, : len(self.thresholds)])
        return Watched(seen.tokens, seen.attention, seen.learned, logits)

    def _said(self, tokens: Tensor) -> Tensor:
        return self.heads(self.dropout(tokens))


class MultiLabel(TunedModel, EncodedModel):
    """Which of several labels an image shows, none too; scores are (B, labels)."""

    section: MultiLabelSection
    network: MultiLabelNetwork

    def __init__(
        self,
        network: MultiLabelNetwork,
        *,
        section: MultiLabelSection,
        labels: LabelMap,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(network, section=section, labels=labels, preprocessing=preprocessing)
        # The labels' tokens are new to the encoder's weights: they learn whatever of these does.
        self._asleep.discard(id(self._tokens))
        self._tokens.requires_grad = True

    @staticmethod
    def drawn(
        section: MultiLabelSection, options: Mapping[str, Any], labels: LabelMap
    ) -> MultiLabelNetwork:
        """Return a network of random weights."""
        return _network(drawn_architecture(options, section, class_tokens=len(labels)), section)

    @staticmethod
    def begun(section: MultiLabelSection, folder: Path, labels: LabelMap) -> MultiLabelNetwork:
        """Return a network with a checkpoint's encoder: a ViT's, a DeiT's, a DINOv2's, or ours.

        Each label's token begins as the class token. One of the same labels keeps its tokens and
        heads; its thresholds were tuned for it, not for what is to come.
        """
        if is_own(folder):
            said, tensors = read_ours(folder, section)
            made_for = said.architecture
            same = same_names(folder, labels) and "heads.weight" in tensors
            tensors = {n: t for n, t in tensors.items() if n != "thresholds"}
            tensors = tensors if same else encoder_alone(tensors)
        else:
            made_for, tensors = read_theirs(folder, labels)
        network = _network(said_by(made_for, section, class_tokens=len(labels)), section)
        return filled(network, (made_for, tensors), folder, new=_NEW)

    @staticmethod
    def restored(section: MultiLabelSection, folder: Path, labels: LabelMap) -> MultiLabelNetwork:
        """Return the network of a model that was saved, every tensor of it, thresholds included."""
        said, tensors = read_ours(folder, section)
        made = said_by(said.architecture, section, class_tokens=len(labels))
        return filled(_network(made, section), (said.architecture, tensors), folder)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Scores from which on each label is called present; 0.5 until they are tuned."""
        return tuple(self.network.thresholds.tolist())

    def call_present_from(self, thresholds: Sequence[float]) -> None:
        """Take the score from which on each label is called present; it is saved with the model.

        Raises:
            ModelError: Not one number from 0 to 1 a label.
        """
        if len(thresholds) != len(self.labels) or not all(0 <= t <= 1 for t in thresholds):
            raise ModelError(
                "These thresholds do not fit",
                got=list(thresholds),
                known=self.labels.names,
                remedy="Give each label one number from 0 to 1",
            )
        self.network.thresholds.copy_(torch.tensor(thresholds))

    def answer(self, images: Tensor) -> Tensor:
        """Return logits (B, labels) of uint8 images (B, 3, H, W)."""
        return self.logits(images)

    def loss_of(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross-entropy over the labels of a batch that are known.

        A label's positives count as its weight says. A batch with none known has loss 0 and no
        gradient.
        """
        targets = self._targets(targets)
        known = targets != IGNORE_ID
        each = F.binary_cross_entropy_with_logits(
            answer.float(),
            targets.clamp(max=1).float(),
            pos_weight=self._class_weights,
            reduction="none",
        )
        return (each * known).sum() / known.sum().clamp(min=1)

    def scores_of(self, answer: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """Return how sure it is of each label, float32 (B, labels), each by itself from 0 to 1."""
        return answer.float().sigmoid()

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, labels) of uint8 images (B, 3, H, W)."""
        return self.network(self._pixels(images))

    def attended(self, images: Tensor) -> Attended:
        """Return logits of uint8 images (B, 3, H, W) with the attention that led to them.

        Gradients reach the attention of every block where autograd is on, also of a frozen one.
        """
        pixels = self._pixels(images).requires_grad_(torch.is_grad_enabled())
        seen, encoder = self.network.watched(pixels), self.network.encoder
        assert seen.logits is not None
        side = encoder.architecture.along(self.input_px)
        return Attended(
            attention=seen.attention,
            logits=seen.logits,
            grid=(side, side),
            special=encoder.architecture.special,
            pool="cls",
            learned=seen.learned and LearnedTokens(seen.learned.maps, encoder.learns_after),
            own_tokens=True,
        )

    def backbone_parameters(self) -> Iterator[Parameter]:
        """Yield what is pretrained and may learn: not the labels' tokens."""
        return (p for p in super().backbone_parameters() if p is not self._tokens)

    @property
    def architecture(self) -> str:
        """What the network is called."""
        return "vit, a class token a label"

    @property
    def _form(self) -> None:
        """None: transformers has no such network."""
        return None

    @property
    def _tokens(self) -> Parameter:
        return self.network.encoder.embedding.class_token


def _network(architecture: Architecture, section: MultiLabelSection) -> MultiLabelNetwork:
    encoder = new_encoder(architecture, section, pool="cls")
    return MultiLabelNetwork(encoder, dropout=section.dropout)
