"""Configurations of mask classifiers that learn from nothing, on a CPU if need be."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import names_of
from wsi_vit.models.mask_classifier import refuse_few_queries
from wsi_vit.section import Section

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_STAGES: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
FourStages = tuple[int, int, int, int]


class MaskOptions(Section):
    """The size of a mask classifier; the defaults train in minutes on two CPU cores."""

    backbone: Literal["resnet", "swin"] = "resnet"
    widths: FourStages = (32, 64, 128, 256)
    """Channels of a ResNet's four stages; a Swin starts with the first and doubles it."""
    depths: FourStages = (1, 1, 1, 1)
    """Blocks of each stage."""
    window: int = Field(default=4, ge=2)
    """Side of a Swin's attention windows, in patches of 4 px."""
    d_model: int = Field(default=128, ge=32, multiple_of=32)
    """Features of queries, pixels and masks; a multiple of 32 for the group norms."""
    decoder_layers: int = Field(default=3, ge=1)
    heads: int = Field(default=4, ge=1)
    queries: int = Field(default=10, ge=1)
    """At least one for each class that an image may hold."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    points: int = Field(default=1024, ge=16)
    """Points that Mask2Former's losses look at."""


def new_mask_config(
    architecture: Literal["maskformer", "mask2former"],
    options: MaskOptions,
    *,
    labels: LabelMap,
    input_px: int,
) -> "PreTrainedConfig":
    """Make the configuration of a mask classifier.

    Raises:
        ModelError: Fewer queries than classes.
    """
    refuse_few_queries(options.queries, labels)
    if architecture == "maskformer":
        return _maskformer(options, labels, input_px)
    return _mask2former(options, labels, input_px)


def _maskformer(options: MaskOptions, labels: LabelMap, input_px: int) -> "PreTrainedConfig":
    from transformers import DetrConfig, MaskFormerConfig

    decoder = DetrConfig(
        d_model=options.d_model,
        encoder_layers=1,
        encoder_attention_heads=options.heads,
        encoder_ffn_dim=2 * options.d_model,
        decoder_layers=options.decoder_layers,
        decoder_attention_heads=options.heads,
        decoder_ffn_dim=2 * options.d_model,
        num_queries=options.queries,
        dropout=options.dropout,
    )
    return MaskFormerConfig(
        backbone_config=_backbone(options, input_px),
        decoder_config=decoder,
        fpn_feature_size=options.d_model,
        mask_feature_size=options.d_model,
        **names_of(labels),
    )


def _mask2former(options: MaskOptions, labels: LabelMap, input_px: int) -> "PreTrainedConfig":
    from transformers import Mask2FormerConfig

    return Mask2FormerConfig(
        backbone_config=_backbone(options, input_px),
        feature_size=options.d_model,
        mask_feature_size=options.d_model,
        hidden_dim=options.d_model,
        encoder_layers=2,
        encoder_feedforward_dim=2 * options.d_model,
        decoder_layers=options.decoder_layers + 1,
        dim_feedforward=2 * options.d_model,
        num_attention_heads=options.heads,
        num_queries=options.queries,
        dropout=options.dropout,
        train_num_points=options.points,
        use_auxiliary_loss=True,
        **names_of(labels),
    )


def _backbone(options: MaskOptions, input_px: int) -> Any:
    from transformers import ResNetConfig, SwinConfig

    if options.backbone == "resnet":
        return ResNetConfig(
            embedding_size=options.widths[0],
            hidden_sizes=list(options.widths),
            depths=list(options.depths),
            layer_type="basic",
            **_STAGES,
        )
    return SwinConfig(
        image_size=input_px,
        embed_dim=options.widths[0],
        depths=list(options.depths),
        num_heads=[max(1, options.widths[0] * 2**stage // 32) for stage in range(4)],
        window_size=options.window,
        drop_path_rate=options.dropout,
        **_STAGES,
    )
