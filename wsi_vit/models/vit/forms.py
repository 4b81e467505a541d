"""Which of transformers' architectures ours is, and what ours is in their words."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_vit.errors import ModelError
from wsi_vit.models.sections import TokenLearnerSection
from wsi_vit.models.vit.architecture import Architecture

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_FORMS = ("vit", "deit", "dinov2", "dinov2_with_registers")
"""Architectures of transformers that ours contains."""


def architecture_of(config: "PreTrainedConfig", folder: Path) -> Architecture:
    """Return what a configuration of transformers describes.

    Raises:
        ModelError: Another architecture, or a variant that ours does not have.
    """
    said: Any = config
    if said.model_type not in _FORMS:
        raise ModelError(
            "Our Vision Transformer cannot take this architecture",
            got=f"model_type {said.model_type!r} in {folder}",
            known=_FORMS,
            remedy="Name a ViT, a DeiT or a DINOv2, or choose `kind: classifier`",
        )
    _refuse_variants(said, folder)
    dino = said.model_type.startswith("dinov2")
    gated = dino and said.use_swiglu_ffn
    return Architecture(
        image_px=_side(said.image_size),
        patch_px=_side(said.patch_size),
        width=said.hidden_size,
        depth=said.num_hidden_layers,
        heads=said.num_attention_heads,
        mlp_width=_dino_width(said, gated=gated) if dino else said.intermediate_size,
        mlp="swiglu" if gated else "gelu",
        registers=getattr(said, "num_register_tokens", 0),
        distillation=1 if said.model_type == "deit" else 0,
        mask_token=1 if dino and getattr(said, "use_mask_token", True) else 0,
        layer_scale=said.layerscale_value if dino else None,
        qkv_bias=said.qkv_bias,
        norm_eps=said.layer_norm_eps,
    )


def form_of(architecture: Architecture, learner: TokenLearnerSection | None) -> str | None:
    """Return which of transformers' architectures this is; None where it has none."""
    plain = architecture.stride_px in (None, architecture.patch_px)
    plain = plain and architecture.class_tokens == 1
    if learner or not plain or architecture.positions != "learned":
        return None
    if architecture.layer_scale is None:
        if architecture.mlp != "gelu" or architecture.registers or architecture.mask_token:
            return None
        return "deit" if architecture.distillation else "vit"
    if architecture.distillation or _ratio(architecture) is None:
        return None
    return "dinov2_with_registers" if architecture.registers else "dinov2"


def options_of(architecture: Architecture, form: str) -> dict[str, Any]:
    """Return the options of transformers' configuration of a form that `form_of` told."""
    options: dict[str, Any] = {
        "hidden_size": architecture.width,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.heads,
        "image_size": architecture.image_px,
        "patch_size": architecture.patch_px,
        "qkv_bias": architecture.qkv_bias,
        "layer_norm_eps": architecture.norm_eps,
    }
    if not form.startswith("dinov2"):
        return options | {"intermediate_size": architecture.inner}
    options |= {
        "mlp_ratio": _ratio(architecture),
        "use_swiglu_ffn": architecture.mlp == "swiglu",
        "layerscale_value": architecture.layer_scale,
    }
    if form == "dinov2":
        return options | {"use_mask_token": bool(architecture.mask_token)}
    return options | {"num_register_tokens": architecture.registers}


def _dino_width(config: Any, *, gated: bool) -> int:
    width = int(config.hidden_size * config.mlp_ratio)
    return (int(width * 2 / 3) + 7) // 8 * 8 if gated else width


def _ratio(architecture: Architecture) -> int | None:
    """Return DINOv2's `mlp_ratio` that gives this MLP; None where none does."""
    for ratio in range(1, 33):
        inner = ratio * architecture.width
        if architecture.mlp == "swiglu":
            inner = (int(inner * 2 / 3) + 7) // 8 * 8
        if inner == architecture.inner:
            return ratio
    return None


def _side(size: Any) -> int:
    return size if isinstance(size, int) else size[0]


def _refuse_variants(said: Any, folder: Path) -> None:
    """Refuse what a checkpoint of a known architecture may still have that ours has not."""
    sizes = {"image_size": said.image_size, "patch_size": said.patch_size}
    odd = [
        f"{name} {size}" for name, size in sizes.items() if not isinstance(size, int)
        and len(set(size)) > 1
    ]  # fmt: skip
    if said.hidden_act != "gelu":
        odd.append(f"hidden_act {said.hidden_act}")
    if said.num_channels != 3:
        odd.append(f"num_channels {said.num_channels}")
    if odd:
        raise ModelError(
            "Our Vision Transformer has no such variant",
            got=f"{', '.join(odd)} in {folder}",
            known=["square images and patches", "hidden_act gelu", "num_channels 3"],
            remedy="Choose `kind: classifier`, which takes what transformers takes",
        )
