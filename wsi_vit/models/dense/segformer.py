"""One class a pixel, by SegFormer of transformers.

Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers"
(NeurIPS 2021): four stages of ever coarser tokens, a linear layer on each, and their sum decoded at
a quarter of the image's size.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import load_network, new_config, quiet, read_config, weight_files
from wsi_vit.models.classification import same_names
from wsi_vit.models.dense.model import DenseModel
from wsi_vit.models.sections import SegformerSection

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_DECODER, _CLASSES = "decode_head.", "decode_head.classifier."


class Segformer(DenseModel):
    """A SegFormer."""

    section: SegformerSection

    @staticmethod
    def drawn(
        section: SegformerSection,  # noqa: ARG004  (all models are asked the same way)
        options: Mapping[str, Any],
        labels: LabelMap,
    ) -> "PreTrainedModel":
        """Return a network of random weights."""
        config = new_config("segformer", dict(options), labels=labels)
        _refuse_others(config, "start.options")
        with quiet():
            return _class()._from_config(config)

    @staticmethod
    def begun(
        section: SegformerSection,  # noqa: ARG004
        folder: Path,
        labels: LabelMap,
    ) -> "PreTrainedModel":
        """Return a checkpoint's network: an encoder alone, or a whole SegFormer.

        The class layer is drawn anew where the classes differ, the decoder where there is none.
        """
        config = read_config(folder, labels=labels)
        _refuse_others(config, folder)
        new = (_CLASSES,) if _has_decoder(folder) else (_DECODER, "classifier.")
        network = load_network(
            _class(), folder, config=config, may_differ=lambda name: name.startswith(new)
        )
        if not same_names(folder, labels):
            layer: Any = network.get_submodule(_CLASSES.rstrip("."))
            nn.init.normal_(layer.weight, std=config.initializer_range)
            nn.init.zeros_(layer.bias)
        return network

    @staticmethod
    def restored(
        section: SegformerSection,  # noqa: ARG004
        folder: Path,
        labels: LabelMap,
    ) -> "PreTrainedModel":
        """Return the network of a model that was saved, every tensor of it."""
        return load_network(_class(), folder, config=read_config(folder, labels=labels))

    def maps(self, pixels: Tensor) -> Tensor:
        """Return logits at a quarter of the size, (B, classes, input_px / 4, input_px / 4)."""
        return self.network(pixels).logits

    def backbone(self) -> nn.Module:
        """Return the encoder."""
        return self.network.base_model


def _class() -> Any:
    from transformers import SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation


def _refuse_others(config: "PreTrainedConfig", where: object) -> None:
    channels = getattr(config, "num_channels", "unsaid")
    if config.model_type == "segformer" and channels == 3:
        return
    raise ModelError(
        "A SegFormer of RGB images is asked for, and this is none",
        got=f"model_type {config.model_type!r}, num_channels {channels} in {where}",
        known=["model_type 'segformer', num_channels 3"],
        remedy="Name a SegFormer's checkpoint, such as nvidia/mit-b0, or choose another `kind`",
    )


def _has_decoder(folder: Path) -> bool:
    """Say whether a checkpoint is a whole SegFormer, not an encoder alone."""
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            if any(name.startswith(_DECODER) for name in file.keys()):  # noqa: SIM118
                return True
    return False
