"""Pre-training our own Vision Transformer on images without labels, as a masked autoencoder.

What is saved is a ViT that fine-tuning begins from (`start: {kind: folder}` of any kind that takes
one), with the decoder beside it, which nothing else reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.pixels import refuse_odd_images
from wsi_vit.models.preprocessing import Preprocessing
from wsi_vit.models.pretraining.autoencoder import (
    Decoder,
    Hidden,
    MaskedEncoder,
    Patches,
    draw_hidden,
    hidden_error,
    image_of,
    normalised,
    patches_of,
    seen_colour,
)
from wsi_vit.models.sections import MaeSection
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
from wsi_vit.models.vit.transformer import VisionTransformer, sincos_positions


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Images, what was hidden of them, and what was drawn in its place."""

    drawn: Tensor
    """uint8 (B, 3, H, W): visible patches as they are, hidden ones as predicted.

    A prediction has no brightness and no contrast of its own (its target is normalised): each
    hidden patch is given those of the truth, as in the figures of the paper."""
    mask: Tensor
    """Whether a pixel was hidden, bool (B, H, W)."""
    error: Tensor
    """Mean squared error of normalised hidden patches, (B,) float32."""
    mean_colour_error: Tensor
    """The same of one colour for all hidden patches: the mean of the visible ones, (B,) float32.
    A brightness in the place of the colour would err by 1."""


class Mae(EncodedModel):
    """A masked autoencoder (He et al. 2022); it has no use for targets."""

    section: MaeSection
    network: MaskedEncoder

    def __init__(
        self,
        network: MaskedEncoder,
        *,
        section: MaeSection,
        labels: LabelMap,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(network, section=section, labels=labels, preprocessing=preprocessing)
        self._made = network.encoder.architecture
        self.decoder = Decoder(
            self._made,
            width=section.decoder_width,
            depth=section.decoder_depth,
            heads=section.decoder_heads,
        )
        # Fixed, as the authors have them: what is learnt must not lean on where a patch lies.
        self._asleep = {id(network.encoder.embedding.positions)}
        network.encoder.embedding.positions.requires_grad_(False)  # noqa: FBT003

    @staticmethod
    def drawn(section: MaeSection, options: Mapping[str, Any], labels: LabelMap) -> MaskedEncoder:  # noqa: ARG004
        """Return an encoder of random weights, whose positions are sines and cosines."""
        network = _network(drawn_architecture(options, section), section)
        embedding, made = network.encoder.embedding, network.encoder.architecture
        places = sincos_positions(made.grid, made.grid, made.width)
        with torch.no_grad():
            embedding.positions[:, made.placed :] = places.to(embedding.positions)
            embedding.positions[:, : made.placed] = 0
        return network

    @staticmethod
    def begun(section: MaeSection, folder: Path, labels: LabelMap) -> MaskedEncoder:
        """Return a checkpoint's encoder, to be trained further on images of one's own."""
        return _filled(section, folder, labels)

    @staticmethod
    def restored(section: MaeSection, folder: Path, labels: LabelMap) -> MaskedEncoder:
        """Return the encoder of a model that was saved; its decoder is loaded as a head is."""
        return _filled(section, folder, labels)

    def answer(self, images: Tensor) -> Tensor:
        """Return the squared error of normalised hidden patches of uint8 images (B, 3, H, W)."""
        return self._error(self._pixels(images), self._hidden(images))

    def loss_of(self, answer: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """Return the mean squared error of normalised hidden patches, a scalar.

        In training another part of each image is hidden each time; in evaluation what is hidden
        follows from the image's pixels, so that a loss is the same every time.
        """
        return answer.mean()

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Return (B, classes) float32, all alike: it tells no classes apart."""
        refuse_odd_images(images)
        return self.scores_of(None, images)

    def scores_of(self, answer: Tensor | None, images: Tensor) -> Tensor:  # noqa: ARG002
        """Return (B, classes) float32, all alike, whatever the answer."""
        return self._mean.new_full((len(images), len(self.labels)), 1 / len(self.labels))

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Reconstruction:
        """Hide parts of uint8 images (B, 3, H, W) and draw them from the rest."""
        pixels, hidden = self._pixels(images), self._hidden(images)
        predicted, wanted = self._predicted(pixels, hidden), self._wanted(pixels)
        side, rows = self._made.patch_px, self._made.grid
        drawn = predicted.float() * wanted.deviation + wanted.mean
        patches = torch.where(hidden.mask[..., None], drawn, patches_of(pixels, side))
        shown = image_of(patches, side, rows) * self._std + self._mean
        cells = hidden.mask.unflatten(1, (rows, rows))
        return Reconstruction(
            drawn=shown.round().clamp(0, 255).to(torch.uint8),
            mask=cells.repeat_interleave(side, 1).repeat_interleave(side, 2),
            error=hidden_error(predicted, wanted.values, hidden.mask),
            mean_colour_error=hidden_error(
                seen_colour(wanted.values, hidden), wanted.values, hidden.mask
            ),
        )

    def compiled_parts(self) -> Sequence[nn.Module]:
        """Return encoder and decoder, whose forward passes are nearly all of a loss."""
        return [self.network, self.decoder]

    def own_head(self) -> nn.Module | None:
        """Return the decoder, which is saved beside the encoder."""
        return self.decoder

    def _error(self, pixels: Tensor, hidden: Hidden) -> Tensor:
        wanted = self._wanted(pixels).values
        return hidden_error(self._predicted(pixels, hidden), wanted, hidden.mask)

    def _predicted(self, pixels: Tensor, hidden: Hidden) -> Tensor:
        return self.decoder(self.network(pixels, hidden.visible), hidden.visible)

    def _wanted(self, pixels: Tensor) -> Patches:
        return normalised(patches_of(pixels.float(), self._made.patch_px))

    def _hidden(self, images: Tensor) -> Hidden:
        count, device = self._made.grid**2, self._mean.device
        if self.training:
            noise = torch.rand(len(images), count, device=device)
        else:
            seeds = images.flatten(1).sum(1, dtype=torch.int64).tolist()
            noise = torch.stack(
                [torch.rand(count, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            )
        return draw_hidden(noise.to(device), self.section.hidden_share)

    def _as_vit(self) -> VisionTransformer:
        """Return the encoder as a network without a head that transformers would know."""
        with torch.device("meta"):  # draws no random numbers: saving changes no run
            return VisionTransformer(self.network.encoder, classes=1, pool="mean")

    def _frozen(self) -> set[int]:
        return self._asleep


def _network(architecture: Architecture, section: MaeSection) -> MaskedEncoder:
    if architecture.step_px != architecture.patch_px:
        raise ModelError(
            "Patches that overlap cannot be hidden: their neighbours show what is in them",
            got=f"stride_px {architecture.step_px} of patches of {architecture.patch_px} px",
            remedy="Leave `stride_px` away, and begin from a ViT whose patches do not overlap",
        )
    if architecture.grid < 2:
        raise ModelError(
            "There is only one patch, so that nothing could be seen or nothing hidden",
            got=f"input_px {section.input_px}, patches of {architecture.patch_px} px",
            remedy="Choose a larger `input_px`",
        )
    return MaskedEncoder(new_encoder(architecture, section, pool="mean"))


def _filled(section: MaeSection, folder: Path, labels: LabelMap) -> MaskedEncoder:
    """Return an encoder with a checkpoint's tensors, its positions interpolated to the input."""
    if is_own(folder):
        said, tensors = read_ours(folder, section)
        made_for, tensors = said.architecture, encoder_alone(tensors)
    else:
        made_for, tensors = read_theirs(folder, labels)
    network = _network(said_by(made_for, section), section)
    return filled(network, (made_for, tensors), folder)
