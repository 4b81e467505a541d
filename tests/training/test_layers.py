from typing import Any

import pytest
import torch
from torch import nn

from tests.training.small import Small, section
from wsi_vit.errors import TrainingError
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import ClassifierSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.training.layers import layers_to_head
from wsi_vit.training.optimiser import Optimiser

TINY: dict[str, dict[str, Any]] = {
    "ViT": {"num_hidden_layers": 3, "hidden_size": 8, "num_attention_heads": 1},
    "Dinov2": {"num_hidden_layers": 3, "hidden_size": 8, "num_attention_heads": 1},
    "Swin": {"embed_dim": 4, "depths": [1, 2], "num_heads": [1, 1], "window_size": 2},
    "MaskFormerSwin": {"embed_dim": 4, "depths": [1, 2], "num_heads": [1, 1], "window_size": 2},
    "Segformer": {
        "num_encoder_blocks": 2,
        "depths": [1, 2],
        "hidden_sizes": [4, 4],
        "num_attention_heads": [1, 1],
        "sr_ratios": [2, 1],
        "patch_sizes": [7, 3],
        "strides": [4, 2],
        "mlp_ratios": [1, 1],
    },
    "ResNet": {"embedding_size": 4, "hidden_sizes": [4, 4], "depths": [1, 2]},
    "ConvNext": {"hidden_sizes": [4, 4], "depths": [1, 2], "num_stages": 2},
    "Eomt": {
        "num_hidden_layers": 3,
        "hidden_size": 8,
        "num_attention_heads": 1,
        "num_blocks": 1,
        "num_queries": 2,
    },
}
"""Options that make three blocks."""

AWAY = {
    "ViT": {
        "embeddings.position_embeddings": 4,
        "embeddings.patch_embeddings.projection.weight": 4,
        "layers.0.mlp.fc1.weight": 3,
        "layers.2.layernorm_after.bias": 1,
        "layernorm.weight": 0,
    },
    "Dinov2": {
        "embeddings.mask_token": 4,
        "encoder.layer.0.layer_scale1.lambda1": 3,
        "encoder.layer.2.attention.q_proj.weight": 1,
        "layernorm.bias": 0,
    },
    "Swin": {
        "embeddings.norm.weight": 4,
        "encoder.layers.0.blocks.0.attention.q_proj.weight": 3,
        "encoder.layers.0.downsample.reduction.weight": 3,
        "encoder.layers.1.blocks.0.mlp.fc1.weight": 2,
        "encoder.layers.1.blocks.1.mlp.fc1.weight": 1,
        "layernorm.weight": 0,
    },
    "MaskFormerSwin": {
        "model.embeddings.patch_embeddings.projection.weight": 4,
        "model.encoder.layers.0.blocks.0.layernorm_before.weight": 3,
        "model.encoder.layers.1.blocks.1.layernorm_before.weight": 1,
        "hidden_states_norms.0.weight": 0,
    },
    "Segformer": {
        "stages.0.patch_embeddings.proj.weight": 4,
        "stages.0.blocks.0.mlp.fc1.weight": 3,
        "stages.0.layer_norm.weight": 3,
        "stages.1.patch_embeddings.proj.weight": 3,
        "stages.1.blocks.0.mlp.fc1.weight": 2,
        "stages.1.blocks.1.mlp.fc1.weight": 1,
        "stages.1.layer_norm.bias": 1,
    },
    "ResNet": {
        "embedder.embedder.convolution.weight": 4,
        "encoder.stages.0.layers.0.layer.2.convolution.weight": 3,
        "encoder.stages.1.layers.0.shortcut.convolution.weight": 2,
        "encoder.stages.1.layers.1.layer.0.normalization.bias": 1,
    },
    "ConvNext": {
        "embeddings.patch_embeddings.weight": 4,
        "encoder.stages.0.layers.0.dwconv.weight": 3,
        "encoder.stages.1.downsampling_layer.0.weight": 3,
        "encoder.stages.1.layers.1.pwconv2.bias": 1,
        "layernorm.weight": 0,
    },
    "Eomt": {
        "embeddings.register_tokens": 4,
        "embeddings.position_embeddings.weight": 4,
        "layers.0.norm1.weight": 3,
        "layers.2.layer_scale2.lambda1": 1,
        "layernorm.weight": 0,
        "query.weight": 0,
    },
}


def network(kind: str) -> nn.Module:
    import transformers

    ending = {"Eomt": "ForUniversalSegmentation", "MaskFormerSwin": "Backbone"}.get(kind, "Model")
    config = getattr(transformers, f"{kind}Config")(image_size=32, **TINY[kind])
    with torch.device("meta"):
        return getattr(transformers, kind + ending)(config)


@pytest.mark.parametrize("kind", TINY)
def test_the_layers_of_real_encoders_are_told_from_their_names(kind: str) -> None:
    heads = ("upscale_block", "mask_head", "class_predictor")
    names = [n for n, _ in network(kind).named_parameters() if not n.startswith(heads)]

    away = dict(zip(names, layers_to_head(names), strict=True))
    inside = layers_to_head([f"network.model.pixel_level_module.encoder.{name}" for name in names])

    assert {name: away[name] for name in AWAY[kind]} == AWAY[kind]
    assert set(away.values()) | {0} == {0, 1, 2, 3, 4}
    assert inside == list(away.values())


def test_a_backbone_whose_layers_have_no_names_is_refused_and_named() -> None:
    with pytest.raises(TrainingError, match=r"cannot be told.*backbone\.0\.weight"):
        Optimiser(Small(), section(layer_decay=0.5))


def test_rates_fall_from_the_head_to_the_embeddings() -> None:
    options = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1}
    model = build_model(
        ClassifierSection(start=ConfigStart(options=options), input_px=32),
        Small().labels,
        "classification",
    )

    optimiser = Optimiser(
        model, section(learning_rate=0.8, backbone_rate=0.4, layer_decay=0.5, weight_decay=0.1)
    )

    found = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimiser.torch.param_groups
        for p in group["params"]
    }
    rates = {name: found[id(p)] for name, p in model.named_parameters()}
    assert rates["network.classifier.weight"] == (0.8, 0.1)
    assert rates["network.vit.layernorm.weight"] == (0.4, 0.0)
    assert rates["network.vit.layers.1.mlp.fc1.weight"] == (0.2, 0.1)
    assert rates["network.vit.layers.0.mlp.fc1.weight"] == (0.1, 0.1)
    assert rates["network.vit.embeddings.cls_token"] == (0.05, 0.1)
    optimiser.set_rate(0.5)
    assert max(group["lr"] for group in optimiser.torch.param_groups) == 0.4
