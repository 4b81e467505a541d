"""One class an image: any image classifier of transformers, or a backbone with a fresh head."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.attended import (
    Attended,
    FeatureMaps,
    noting_outputs,
    writing_attention_down,
)
from wsi_vit.models.checkpoint import (
    UNUSABLE,
    is_of_a_head,
    is_own_head,
    load_network,
    new_config,
    quiet,
    read_config,
)
from wsi_vit.models.classification import ImageClassifier, same_names
from wsi_vit.models.preprocessing import Preprocessing
from wsi_vit.models.section import patch_px, refuse_size
from wsi_vit.models.sections import ClassifierSection, Pool

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_NATIVE: dict[str, Pool] = {
    "vit": "cls",
    "deit": "cls",
    "dinov2": "cls+mean",
    "dinov2_with_registers": "cls+mean",
}
_SEEN: dict[str, Pool] = {**_NATIVE, "vit_msn": "cls", "ijepa": "mean"}
"""What the head of transformers' own class sees, where all patches attend to each other."""
_NOT_OURS = {
    "dinat", "imagegpt", "perceiver", "pp_lcnet", "shieldgemma2", "siglip2", "timm_wrapper"
}  # fmt: skip
"""Classifiers of transformers that take or give something else, or need a library we do not."""
_SMALL_VIT = {
    "hidden_size": 192,
    "num_hidden_layers": 12,
    "num_attention_heads": 3,
    "intermediate_size": 768,
}
"""ViT-Ti of Touvron et al. (2021), table 1: what an unspecific configuration means."""


class Classifier(ImageClassifier):
    """An image classifier of transformers; scores are (B, classes)."""

    section: ClassifierSection

    def __init__(
        self,
        network: "PreTrainedModel",
        *,
        section: ClassifierSection,
        labels: LabelMap,
        preprocessing: Preprocessing,
    ) -> None:
        refuse_size(network.config, section.input_px)
        super().__init__(network, section=section, labels=labels, preprocessing=preprocessing)
        self.dropout = nn.Dropout(section.dropout)
        self.head = _own_head(section, network.config, len(labels))
        if self.head is None:
            _native_head(network).register_forward_pre_hook(self._drop_inputs)
        self._options = _size_options(network, self.input_px)
        if network.config.model_type not in _SEEN:
            self._refuse_odd_answers()

    @staticmethod
    def drawn(
        section: ClassifierSection, options: Mapping[str, Any], labels: LabelMap
    ) -> "PreTrainedModel":
        """Return a classifier's network of random weights."""
        asked = dict(options)
        model_type = str(asked.pop("model_type", "vit"))
        if model_type == "vit":
            asked = _SMALL_VIT | asked
        config = new_config(model_type, asked, labels=labels, image_px=section.input_px)
        auto, extra = _class_for(config, own_head=_has_own_head(section, config))
        try:
            with quiet():
                return auto.from_config(config, **extra)
        except UNUSABLE as error:
            raise _unfit(config, error, "make a classifier of this configuration") from error

    @staticmethod
    def begun(section: ClassifierSection, folder: Path, labels: LabelMap) -> "PreTrainedModel":
        """Return a network with a checkpoint's backbone, and its head where the classes agree."""
        config = read_config(folder, labels=labels)
        network = _loaded(section, folder, config, may_differ=is_of_a_head)
        if not same_names(folder, labels):
            _draw_head(network)
        return network

    @staticmethod
    def restored(section: ClassifierSection, folder: Path, labels: LabelMap) -> "PreTrainedModel":
        """Return the network of a classifier that was saved."""
        config = read_config(folder, labels=labels)
        return _loaded(section, folder, config, may_differ=is_own_head)

    def backbone(self) -> nn.Module:
        """Return all but the head."""
        return self.network.base_model

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of uint8 images (B, 3, H, W)."""
        return self._said(self.network(self._pixels(images), **self._options))

    def attended(self, images: Tensor) -> Attended | None:
        """Return logits of uint8 images (B, 3, H, W) with the attention that led to them.

        Gradients reach the attention of every block where autograd is on, also of a frozen one.
        None of a network whose tokens do not all attend to each other, or of an unknown pooling.
        """
        pool = self.section.pool if self.head else _SEEN.get(self.network.config.model_type)
        if pool is None:
            return None
        pixels = self._pixels(images).requires_grad_(torch.is_grad_enabled())
        with writing_attention_down(self.network):
            output = self.network(pixels, output_attentions=True, **self._options)
        side = self.input_px // patch_px(self.network.config)
        return Attended(
            attention=output.attentions,
            logits=self._said(output),
            grid=(side, side),
            special=output.attentions[-1].shape[-1] - side**2,
            pool=pool,
        )

    def feature_maps(self, images: Tensor) -> FeatureMaps | None:
        """Return logits of uint8 images (B, 3, H, W) with the maps that the head pools.

        None of a network that ends in tokens with a class token among them: its head sees that
        one alone, so that nothing would be learnt from the others.
        """
        if self.head is not None or "cls" in _SEEN.get(self.network.config.model_type, ""):
            return None
        pixels = self._pixels(images).requires_grad_(torch.is_grad_enabled())
        with noting_outputs(self.backbone()) as found:
            logits = self.network(pixels, **self._options).logits
        last = found[0].last_hidden_state
        return FeatureMaps(last, logits) if _is_of_places(last) else None

    def _refuse_odd_answers(self) -> None:
        """Try a network out that is not known to take an image and to answer with its classes."""
        network: Any = self.network
        learning, image = network.training, torch.zeros(1, 3, self.input_px, self.input_px)
        try:
            with torch.no_grad():
                found = self._said(network.eval()(image, **self._options))
            if found.shape != (1, len(self.labels)):
                raise ValueError(f"logits of shape {tuple(found.shape)}")
        except UNUSABLE as error:
            task = f"classify an image of {self.input_px} px by this network"
            raise _unfit(network.config, error, task) from error
        finally:
            network.train(learning)

    def _said(self, output: Any) -> Tensor:
        if self.head is None:
            return output.logits
        return self.head(self.dropout(self._pooled(output.last_hidden_state)))

    def _pooled(self, tokens: Tensor) -> Tensor:
        """Return what the head sees of tokens (B, special + patches, features)."""
        patches = tokens[:, -((self.input_px // patch_px(self.network.config)) ** 2) :]
        parts = {"cls": [tokens[:, 0]], "mean": [patches.mean(1)]}
        both = parts["cls"] + parts["mean"]
        return torch.cat(parts.get(self.section.pool, both), dim=-1)

    def _drop_inputs(self, _head: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (self.dropout(inputs[0]),)

    def own_head(self) -> nn.Module | None:
        """Return the head that lies outside the network, if any."""
        return self.head

    def head_layer(self) -> nn.Module:
        """Return the layer that makes logits of the pooled features."""
        return _native_head(self.network) if self.head is None else self.head


def _has_own_head(section: ClassifierSection, config: "PreTrainedConfig") -> bool:
    """Say whether the head lies outside transformers' network, because the pooling is ours."""
    return section.pool not in ("native", _NATIVE.get(config.model_type))


def _loaded(
    section: ClassifierSection,
    folder: Path,
    config: "PreTrainedConfig",
    *,
    may_differ: Callable[[str], bool],
) -> "PreTrainedModel":
    auto, extra = _class_for(config, own_head=_has_own_head(section, config))
    return load_network(auto, folder, config=config, may_differ=may_differ, **extra)


def _class_for(config: "PreTrainedConfig", *, own_head: bool) -> tuple[Any, dict[str, Any]]:
    """Return the class to make the network with, and options of its constructor.

    Raises:
        ModelError: transformers has no image classifier of this type.
    """
    from transformers import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        AutoModel,
        AutoModelForImageClassification,
    )

    if not own_head:
        known: Any = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
        if type(config) not in known:
            raise _unfit(config, "it has none", "make an image classifier of this type")
        kinds = known[type(config)]
        if isinstance(kinds, tuple):  # the first has one head; what others add is for a teacher
            config.architectures = [kinds[0].__name__]
        return AutoModelForImageClassification, {}
    # These two make a pooling layer that our head would never use.
    return AutoModel, {"add_pooling_layer": False} if config.model_type in ("vit", "deit") else {}


def _unfit(config: "PreTrainedConfig", why: object, task: str) -> ModelError:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES,
    )

    said = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else str(why)
    return ModelError(
        f"transformers cannot {task}",
        got=f"model_type {config.model_type!r} ({' '.join(said.split())[:200]})",
        known=sorted(set(NAMES) - _NOT_OURS),
        remedy="Choose one of these, or correct `start.options` and `input_px`",
    )


def _draw_head(network: "PreTrainedModel") -> None:
    """Draw the head's weights anew, as transformers does: normal, std 0.02, no bias."""
    inside = {id(parameter) for parameter in network.base_model.parameters()}
    for parameter in network.parameters():
        if id(parameter) not in inside:
            nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.0)


def _own_head(section: ClassifierSection, config: "PreTrainedConfig", classes: int) -> Any:
    if not _has_own_head(section, config):
        return None
    if not (hasattr(config, "hidden_size") and hasattr(config, "patch_size")):
        raise ModelError(
            "This pooling needs a network of patches and a class token",
            got=f"pool {section.pool} on {config.model_type}",
            known=["native", *(f"{pool} on ViT-like networks" for pool in _NATIVE.values())][:2],
            remedy="Leave `pool` out",
        )
    width = config.hidden_size * (2 if section.pool == "cls+mean" else 1)
    head = nn.Linear(width, classes)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def _is_of_places(last: Tensor) -> bool:
    """Say whether a backbone's last output is a value a place of a (square) grid."""
    return last.ndim == 4 or math.isqrt(last.shape[1]) ** 2 == last.shape[1]


def _native_head(network: "PreTrainedModel") -> nn.Module:
    head = getattr(network, "classifier", None) or getattr(network, "head", None)
    if isinstance(head, nn.Module):
        return head
    raise _unfit(network.config, "its head has no name we know", "tell a head from the rest of it")


def _size_options(network: "PreTrainedModel", input_px: int) -> dict[str, Any]:
    """Return what `forward` must be told for inputs of another size than the checkpoint's."""
    from inspect import signature

    usual = getattr(network.config, "image_size", input_px)
    if usual in (input_px, [input_px, input_px]):
        return {}
    knows = "interpolate_pos_encoding" in signature(network.forward).parameters
    return {"interpolate_pos_encoding": True} if knows else {}
