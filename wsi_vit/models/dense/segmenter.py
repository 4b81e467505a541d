"""One class a pixel, by our own Vision Transformer: Segmenter.

Strudel et al., "Segmenter: Transformer for Semantic Segmentation" (ICCV 2021): the tokens of the
patches, as they leave the encoder, are decoded to a logit a class and enlarged to pixels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor, nn

from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import read_json
from wsi_vit.models.classification import same_names
from wsi_vit.models.dense.decoders import new_decoder
from wsi_vit.models.dense.model import DenseModel
from wsi_vit.models.sections import SegmenterSection
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
from wsi_vit.models.vit.token_learner import TokenFuser
from wsi_vit.models.vit.transformer import Encoder

_NEW = ("decoder.", "fuser.", "encoder.token_learner.")
"""What a checkpoint may lack: it is drawn."""


class SegmenterNetwork(nn.Module):
    """An encoder, a TokenFuser where it has a TokenLearner, and a decoder."""

    def __init__(self, encoder: Encoder, decoder: nn.Module, *, learned_tokens: int = 0) -> None:
        super().__init__()
        width = encoder.architecture.width
        self.encoder = encoder
        self.fuser = TokenFuser(width, learned_tokens) if learned_tokens else None
        self.decoder = decoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, classes, rows, columns) of normalised pixels (B, 3, H, W).

        A cell is a patch; where patches overlap it is a pixel.
        """
        made = self.encoder.architecture
        grid = (made.along(pixels.shape[2]), made.along(pixels.shape[3]))
        patches = self.encoder.dense(pixels, self.fuser)
        return _spread(self.decoder(patches).transpose(1, 2).unflatten(2, grid), made)


class Segmenter(TunedModel, EncodedModel, DenseModel):
    """Segmenter on our own Vision Transformer, with or without a TokenLearner."""

    section: SegmenterSection
    network: SegmenterNetwork

    @staticmethod
    def drawn(
        section: SegmenterSection, options: Mapping[str, Any], labels: LabelMap
    ) -> SegmenterNetwork:
        """Return a network of random weights."""
        return _network(drawn_architecture(options, section), section, labels)

    @staticmethod
    def begun(section: SegmenterSection, folder: Path, labels: LabelMap) -> SegmenterNetwork:
        """Return a network with a checkpoint's encoder: a ViT's, a DeiT's, a DINOv2's, or ours.

        That of a segmenter keeps its decoder where classes and decoder are the same.
        """
        if not is_own(folder):
            made_for, tensors = read_theirs(folder, labels)
        else:
            said, tensors = read_ours(folder, section)
            made_for = said.architecture
            if not (same_names(folder, labels) and _decoder_of(folder) == _said(section)):
                tensors = encoder_alone(tensors)
        network = _network(said_by(made_for, section), section, labels)
        return filled(network, (made_for, tensors), folder, new=_NEW)

    @staticmethod
    def restored(section: SegmenterSection, folder: Path, labels: LabelMap) -> SegmenterNetwork:
        """Return the network of a model that was saved, every tensor of it."""
        said, tensors = read_ours(folder, section)
        network = _network(said_by(said.architecture, section), section, labels)
        return filled(network, (said.architecture, tensors), folder)

    @property
    def architecture(self) -> str:
        """What the network is called."""
        decoder = self.section.decoder
        return f"segmenter, {decoder if decoder == 'linear' else 'mask transformer'}"

    @property
    def _form(self) -> None:
        """None: transformers has no Segmenter."""
        return None


def _network(
    architecture: Architecture, section: SegmenterSection, labels: LabelMap
) -> SegmenterNetwork:
    encoder = new_encoder(architecture, section, pool="mean")
    learner = section.token_learner
    decoder = new_decoder(section.decoder, architecture, len(labels))
    return SegmenterNetwork(encoder, decoder, learned_tokens=learner.tokens if learner else 0)


def _decoder_of(folder: Path) -> Any:
    """Return what a model of ours says of its decoder; None where it has none."""
    return read_json(folder / "config.json").get("wsi_vit", {}).get("section", {}).get("decoder")


def _said(section: SegmenterSection) -> Any:
    return section.model_dump(mode="json")["decoder"]


def _spread(maps: Tensor, made: Architecture) -> Tensor:
    """Return maps whose cells lie side by side and fill the image, as enlarging takes them.

    Overlapping patches lie one step apart but are wider than it: their cells fill the middle of the
    image, and go on to its border unchanged.
    """
    beyond = made.patch_px - made.step_px
    if not beyond:
        return maps
    rows, columns = maps.shape[-2:]
    size = (rows * made.step_px, columns * made.step_px)
    middle = F.interpolate(maps.float(), size=size, mode="bilinear")
    before, after = beyond // 2, beyond - beyond // 2
    return F.pad(middle, (before, after, before, after), mode="replicate")
