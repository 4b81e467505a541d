"""First weights of an EoMT: from a plain ViT, a DINOv2, or another EoMT.

transformers' own loader takes a DINOv2 for an EoMT without complaint and leaves nearly all of it
random. Here every tensor of the backbone finds its place, or it is an error; the features of the
network are the backbone's own (tested).
"""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import (
    is_of_a_head,
    load_network,
    names_of,
    quiet,
    read_config,
    refuse_gaps,
)
from wsi_vit.models.mask_classifier import is_of_the_classes, refuse_few_queries
from wsi_vit.models.section import patch_px, refuse_size

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_BACKBONES = ("vit", "dinov2", "dinov2_with_registers")
_RENAMED = (
    (r"^encoder\.", ""),
    (r"^layer\.", "layers."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attention.\1_proj."),
    (r"\.attention\.(q|k|v)\w*_proj\.", r".attention.\1_proj."),
    (r"\.attention\.(o_proj|output\.dense)\.", ".attention.out_proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
"""From the names of ViT's and DINOv2's tensors, of several versions of transformers, to EoMT's."""

DEFAULTS = {"num_queries": 50, "num_blocks": 4}
"""Of an EoMT that is none yet; the rest is as transformers has it."""

_NEW = ("query.", "upscale_block.", "mask_head.", "class_predictor.", "criterion.", "attn_mask")
"""What an EoMT has that a backbone lacks."""


def eomt_class() -> Any:
    """Return transformers' class."""
    from transformers import EomtForUniversalSegmentation

    return EomtForUniversalSegmentation


def begin_eomt(
    folder: Path, labels: LabelMap, *, input_px: int, changes: dict[str, int]
) -> "PreTrainedModel":
    """Make an EoMT from the weights in a folder; what they lack is drawn.

    Args:
        folder: Holds a ViT, a DINOv2 or an EoMT.
        labels: Its classes.
        input_px: Side of the images; position encodings are interpolated to it.
        changes: What differs from the checkpoint's configuration, or from the defaults.

    Raises:
        ModelError: Another architecture, a size that patches do not fill, too few queries, or
            tensors that found no place.
    """
    theirs = read_config(folder, labels=labels)
    refuse_size(theirs, input_px)  # before positions are interpolated to it
    if theirs.model_type == "eomt":
        source = load_network(eomt_class(), folder, config=theirs, may_differ=is_of_the_classes)
        config, tensors = theirs.to_dict(), _of_eomt(source, input_px)
    else:
        source = _backbone(folder, theirs)
        config, tensors = _config_of(theirs), _of_backbone(source, input_px)
    return _planted(tensors, config | changes | {"image_size": input_px}, labels, folder)


def drawn_eomt(config: Any, labels: LabelMap) -> "PreTrainedModel":
    """Make an EoMT of random weights.

    Raises:
        ModelError: A size that patches do not fill, too few queries, or more blocks than layers.
    """
    refuse_size(config, config.image_size)
    refuse_few_queries(config.num_queries, labels)
    if config.num_blocks > config.num_hidden_layers:
        raise ModelError(
            "The queries cannot take part in more blocks than there are",
            got=f"blocks {config.num_blocks}",
            known=[f"1 to {config.num_hidden_layers}"],
            remedy="Lower `blocks`",
        )
    with quiet():
        return eomt_class()._from_config(config)


def _planted(
    tensors: dict[str, Tensor], config: dict[str, Any], labels: LabelMap, folder: Path
) -> "PreTrainedModel":
    """Return an EoMT with these tensors in it; only what is new to them may be missing."""
    from transformers import EomtConfig

    network = drawn_eomt(EomtConfig(**config | names_of(labels)), labels)
    own = network.state_dict()
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(_NEW) or (name in own and own[name].shape == tensor.shape)
    }
    found = network.load_state_dict(kept, strict=False)
    report = {"missing_keys": found.missing_keys, "unexpected_keys": found.unexpected_keys}
    refuse_gaps(report, folder, _may_be_new)
    return network


def _may_be_new(key: str) -> bool:
    return key.startswith(_NEW)


def _backbone(folder: Path, config: "PreTrainedConfig") -> "PreTrainedModel":
    from transformers import AutoModel

    if config.model_type not in _BACKBONES:
        raise ModelError(
            "An EoMT cannot start from this architecture",
            got=f"model_type {config.model_type!r} in {folder}",
            known=[*_BACKBONES, "eomt"],
            remedy="Name a plain ViT, a DINOv2 or an EoMT",
        )
    extra = {"add_pooling_layer": False} if config.model_type == "vit" else {}
    return load_network(AutoModel, folder, config=config, may_differ=is_of_a_head, **extra)


def _config_of(backbone: Any) -> dict[str, Any]:
    """Return the configuration of an EoMT on a backbone."""
    width = backbone.hidden_size
    ratio = getattr(backbone, "mlp_ratio", None) or backbone.intermediate_size / width
    if ratio != int(ratio):
        raise ModelError(
            "An EoMT's layers are a whole number of times as wide inside as outside",
            got=f"intermediate_size {backbone.intermediate_size}, hidden_size {width}",
            remedy="Name another backbone",
        )
    return DEFAULTS | {
        "hidden_size": width,
        "num_hidden_layers": backbone.num_hidden_layers,
        "num_attention_heads": backbone.num_attention_heads,
        "mlp_ratio": int(ratio),
        "hidden_act": backbone.hidden_act,
        "layer_norm_eps": backbone.layer_norm_eps,
        "patch_size": patch_px(backbone),
        "use_swiglu_ffn": getattr(backbone, "use_swiglu_ffn", False),
        "num_register_tokens": getattr(backbone, "num_register_tokens", 0),
    }


@torch.no_grad()
def _of_backbone(backbone: Any, input_px: int) -> dict[str, Tensor]:
    """Return a backbone's tensors by EoMT's names, its positions interpolated to the input size.

    EoMT adds no position to its class token, so that of the backbone goes into the token itself;
    and a plain ViT has no LayerScale, which is one of ones.
    """
    tensors = {
        _renamed(name): tensor
        for name, tensor in backbone.state_dict().items()
        if not is_of_a_head(name)
    }
    positions = _positions(backbone, input_px)
    tensors.pop("embeddings.position_embeddings")
    tensors["embeddings.position_embeddings.weight"] = positions[0, 1:]
    tensors["embeddings.cls_token"] = tensors["embeddings.cls_token"] + positions[:, :1]
    if not backbone.config.model_type.startswith("dinov2"):
        for number in range(backbone.config.num_hidden_layers):
            for scale in ("layer_scale1", "layer_scale2"):
                ones = torch.ones(backbone.config.hidden_size)
                tensors[f"layers.{number}.{scale}.lambda1"] = ones
    tensors.setdefault("embeddings.register_tokens", positions.new_zeros(1, 0, positions.shape[2]))
    return tensors


def _positions(backbone: Any, input_px: int) -> Tensor:
    """Return position encodings for an input size as the backbone itself makes them."""
    patches = (input_px // patch_px(backbone.config)) ** 2
    like = backbone.embeddings.cls_token.expand(1, 1 + patches, -1)
    return backbone.embeddings.interpolate_pos_encoding(like, input_px, input_px)


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


@torch.no_grad()
def _of_eomt(network: "PreTrainedModel", input_px: int) -> dict[str, Tensor]:
    """Return an EoMT's tensors, its positions interpolated to the input size."""
    tensors = dict(network.state_dict())
    name = "embeddings.position_embeddings.weight"
    old, new = math.isqrt(len(tensors[name])), input_px // patch_px(network.config)
    if old != new:
        grid = tensors[name].T.unflatten(1, (old, old))[None]
        grid = F.interpolate(grid, size=(new, new), mode="bicubic", antialias=new < old)
        tensors[name] = grid[0].flatten(1).T
    return tensors
