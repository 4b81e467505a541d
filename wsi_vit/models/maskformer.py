"""One class a pixel, by mask classification: MaskFormer and Mask2Former."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import load_network, quiet, read_config
from wsi_vit.models.criterion import Prediction
from wsi_vit.models.mask_classifier import MaskClassifier, is_of_the_classes
from wsi_vit.models.mask_config import MaskOptions, new_mask_config
from wsi_vit.models.sections import Architecture, MaskFormerSection
from wsi_vit.section import faults_in

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class MaskFormer(MaskClassifier):
    """MaskFormer or Mask2Former."""

    @staticmethod
    def drawn(
        section: MaskFormerSection, options: Mapping[str, Any], labels: LabelMap
    ) -> "PreTrainedModel":
        """Return a network of random weights whose queries can be told apart."""
        size = _options(options)
        with quiet():
            config = new_mask_config(
                section.architecture, size, labels=labels, input_px=section.input_px
            )
            network = _network_class(section)._from_config(config, attn_implementation="eager")
        _tell_queries_apart(network)
        return network

    @staticmethod
    def begun(section: MaskFormerSection, folder: Path, labels: LabelMap) -> "PreTrainedModel":
        """Return a checkpoint's network, with a class layer of its own where classes differ."""
        config = read_config(folder, labels=labels)
        _refuse_architecture(config, section.architecture)
        _learn_from_last_layer(config)
        return load_network(
            _network_class(section),
            folder,
            config=config,
            may_differ=is_of_the_classes,
            attn_implementation="eager",
        )

    @staticmethod
    def restored(section: MaskFormerSection, folder: Path, labels: LabelMap) -> "PreTrainedModel":
        """Return the network of a mask classifier that was saved."""
        config = read_config(folder, labels=labels)
        return load_network(
            _network_class(section), folder, config=config, attn_implementation="eager"
        )

    def backbone(self) -> nn.Module:
        """Return the image encoder."""
        return self.network.base_model.get_submodule("pixel_level_module.encoder")

    def _predict(self, pixels: Tensor) -> list[Prediction]:
        output = self.network(pixels, output_auxiliary_logits=self._learns_from_all_layers())
        last = Prediction(output.class_queries_logits, output.masks_queries_logits)
        earlier = output.auxiliary_logits or []
        return [
            last,
            *(Prediction(e["class_queries_logits"], e["masks_queries_logits"]) for e in earlier),
        ]

    def _learns_from_all_layers(self) -> bool:
        return torch.is_grad_enabled() and bool(self.network.config.use_auxiliary_loss)


def _options(given: Mapping[str, Any]) -> MaskOptions:
    try:
        return MaskOptions.model_validate(given)
    except ValidationError as error:
        raise ModelError(
            f"Options that do not fit ({faults_in(error)})",
            got=dict(given),
            known=MaskOptions.model_fields,
            remedy="Correct `start.options`",
        ) from error


def _network_class(section: MaskFormerSection) -> Any:
    import transformers

    names = {
        "maskformer": "MaskFormerForInstanceSegmentation",
        "mask2former": "Mask2FormerForUniversalSegmentation",
    }
    return getattr(transformers, names[section.architecture])


def _tell_queries_apart(network: "PreTrainedModel") -> None:
    """Draw query embeddings and the decoder's matrices as DETR and the authors' MaskFormer do.

    That is: embeddings with standard deviation 1, matrices by Glorot and Bengio (2010).
    transformers draws MaskFormer's with 0.02, and there all queries get the same faint answer from
    the image: dropout alone tells them apart, and in evaluation they collapse.
    """
    module = network.base_model.get_submodule("transformer_module")
    nn.init.normal_(module.get_parameter("queries_embedder.weight"))
    for parameter in module.get_submodule("decoder").parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)


def _learn_from_last_layer(config: Any) -> None:
    """Switch deep supervision off where transformers' MaskFormer cannot do it.

    Its `get_logits` stacks hidden states that its `forward` has dropped (5.17 to 5.23).
    Mask2Former's works.
    """
    if config.model_type == "maskformer":
        config.use_auxiliary_loss = False


def _refuse_architecture(config: "PreTrainedConfig", architecture: Architecture) -> None:
    if config.model_type != architecture:
        raise ModelError(
            "The checkpoint is of another architecture",
            got=config.model_type,
            known=[architecture],
            remedy="Set `architecture` to the checkpoint's, or name another checkpoint",
        )
