"""One class a pixel, by a plain ViT: the encoder-only mask transformer (EoMT).

Kerssies et al., "Your ViT is Secretly an Image Segmentation Model" (CVPR 2025): the queries join
the patch tokens of a pretrained ViT for its last few blocks; there is no decoder. In training a
query attends only to patches inside the mask it has predicted so far; this is given up block by
block (section 3.3), so that a trained model is a ViT with a few more tokens and nothing else.

transformers' network keeps what blocks before the last predict to itself, so its forward pass is
written out here; all weights and parts are its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor, nn

from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import load_network, new_config, read_config
from wsi_vit.models.criterion import Prediction
from wsi_vit.models.eomt_weights import DEFAULTS, begin_eomt, drawn_eomt, eomt_class
from wsi_vit.models.mask_classifier import MaskClassifier
from wsi_vit.models.sections import EomtSection
from wsi_vit.models.tuned import TunedModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SMALL = {
    "hidden_size": 192,
    "num_hidden_layers": 12,
    "num_attention_heads": 3,
    "num_register_tokens": 0,
}
"""ViT-Ti of Touvron et al. (2021), table 1: what an unspecific configuration means."""

_POWER = 0.9
"""How the masks fade: (1 - share of the block's time) to this power, as the authors' code does."""


class Eomt(TunedModel, MaskClassifier):
    """An encoder-only mask transformer."""

    @staticmethod
    def drawn(
        section: EomtSection, options: Mapping[str, Any], labels: LabelMap
    ) -> "PreTrainedModel":
        """Return a network of random weights."""
        asked = (
            _SMALL | DEFAULTS | dict(options) | _changes(section) | {"image_size": section.input_px}
        )
        return drawn_eomt(new_config("eomt", asked, labels=labels), labels)

    @staticmethod
    def begun(section: EomtSection, folder: Path, labels: LabelMap) -> "PreTrainedModel":
        """Return a network around a ViT's, a DINOv2's or another EoMT's weights."""
        return begin_eomt(folder, labels, input_px=section.input_px, changes=_changes(section))

    @staticmethod
    def restored(
        section: EomtSection,  # noqa: ARG004  (all models are asked the same way)
        folder: Path,
        labels: LabelMap,
    ) -> "PreTrainedModel":
        """Return the network of a model that was saved."""
        return load_network(eomt_class(), folder, config=read_config(folder, labels=labels))

    def progress(self, share: float) -> None:
        """Let the masks of the attention fade, the earliest block's first.

        Of `blocks + 2` equal parts of the training the first keeps all masks, then one part a
        block is given to fading, and the last is trained as the model will be used.
        """
        count = len(self._mask_shares)
        done = [min(max(share * (count + 2) - 1 - number, 0.0), 1.0) for number in range(count)]
        self._mask_shares.copy_(torch.tensor([(1 - part) ** _POWER for part in done]))

    def backbone(self) -> nn.Module:
        """Return the ViT: all but queries, mask head, upscaling and class layer."""
        network: Any = self.network
        return nn.ModuleDict(
            {
                "embeddings": network.embeddings,
                "layers": network.layers,
                "layernorm": network.layernorm,
            }
        )

    def compiled_parts(self) -> Sequence[nn.Module]:
        """Return the blocks; between them the masks decide, which differs from batch to batch."""
        return list(self.network.get_submodule("layers").children())

    def recompute_blocks(self) -> None:
        """Keep a block's input alone for the backward pass; losses and gradients stay the same."""
        # Its blocks can, whatever their network says of itself, whose forward pass is not used.
        self.network.supports_gradient_checkpointing = True
        super().recompute_blocks()

    def _predict(self, pixels: Tensor) -> list[Prediction]:
        network: Any = self.network
        first = len(network.layers) - len(self._mask_shares)
        tokens = network.embeddings(pixels)
        for layer in network.layers[:first]:
            tokens = layer(tokens)
        tokens = torch.cat([network.query.weight.expand(len(pixels), -1, -1), tokens], dim=1)
        said: list[Prediction] = []
        for layer, share in zip(network.layers[first:], self._mask_shares.tolist(), strict=True):
            masked = share > 0 if self.training else share >= 0.5
            if masked or torch.is_grad_enabled():
                said.insert(0, self._read(tokens))
            tokens = layer(tokens, self._attention(said[0].masks, share) if masked else None)
        last = self._read(tokens)
        return [last, *said] if torch.is_grad_enabled() else [last]

    @property
    def _mask_shares(self) -> Tensor:
        """The share of queries that attend to their own mask only, for each of the last blocks."""
        return self.network.get_buffer("attn_mask_probs")

    def _read(self, tokens: Tensor) -> Prediction:
        network: Any = self.network
        masks, classes = network.predict(network.layernorm(tokens))
        return Prediction(classes, masks)

    @torch.no_grad()
    def _attention(self, masks: Tensor, share: float) -> Tensor:
        """Return what may attend to what, bool (B, 1, tokens, tokens).

        Which queries see everything is drawn anew each time; in evaluation none does, so that it
        is the same each time.
        """
        network: Any = self.network
        inside = F.interpolate(masks.float(), size=network.grid_size, mode="bilinear") > 0
        inside = inside.flatten(2)
        if self.training and share < 1:
            inside |= (torch.rand(inside.shape[:2], device=inside.device) > share)[..., None]
        batch, queries, patches = inside.shape
        before = queries + network.embeddings.num_prefix_tokens
        allowed = inside.new_ones((batch, 1, before + patches, before + patches))
        allowed[:, 0, :queries, before:] = inside
        return allowed


def _changes(section: EomtSection) -> dict[str, int]:
    """Return what a section asks to be other than in the checkpoint."""
    asked = {
        "num_queries": section.queries,
        "num_blocks": section.blocks,
        "num_upscale_blocks": section.upscales,
    }
    return {name: value for name, value in asked.items() if value is not None}
