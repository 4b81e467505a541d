"""What a Vision Transformer is made of, as plain values."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from wsi_vit.errors import ModelError
from wsi_vit.models.checkpoint import refuse_unknown
from wsi_vit.models.sections import EncoderSection, Pool, TokenLearnerSection
from wsi_vit.section import Section, faults_in

_SAID_ELSEWHERE = {"image_px", "stride_px", "embedding", "class_tokens"}
"""Values of an architecture that the section says, the first as `input_px`, or the labels."""


class Architecture(Section):
    """A Vision Transformer; the defaults are ViT-Ti (Touvron et al. 2021, table 1)."""

    image_px: int = Field(default=224, ge=1)
    """Side of the images that its positions are made for."""
    patch_px: int = Field(default=16, ge=1)
    stride_px: int | None = Field(default=None, ge=1)
    """From one patch to the next; less than `patch_px` where patches overlap. Absent: no overlap.
    """
    width: int = Field(default=192, ge=1)
    """Features of a token."""
    depth: int = Field(default=12, ge=1)
    """Blocks."""
    heads: int = Field(default=3, ge=1)
    mlp_width: int | None = Field(default=None, ge=1)
    """Features inside the MLP; absent: four times `width`."""
    mlp: Literal["gelu", "swiglu"] = "gelu"
    embedding: Literal["linear", "conv"] = "conv"
    """How patches are projected; both compute the same (tested)."""
    positions: Literal["learned", "sincos"] = "learned"
    class_tokens: int = Field(default=1, ge=1)
    """Class tokens, which come first; several where each label has its own."""
    registers: int = Field(default=0, ge=0)
    """Tokens without content or position (Darcet et al. 2024), as in some DINOv2."""
    distillation: Literal[0, 1] = 0
    """Whether a second class token, a teacher's (Touvron et al. 2021), takes part, as in DeiT."""
    mask_token: Literal[0, 1] = 0
    """Whether the token of masked pre-training is kept, as in DINOv2; it takes no part."""
    layer_scale: float | None = None
    """First value of what each residual branch is multiplied by; absent: nothing multiplies it."""
    qkv_bias: bool = True
    norm_eps: float = Field(default=1e-6, gt=0)

    @property
    def step_px(self) -> int:
        """From one patch to the next."""
        return self.stride_px or self.patch_px

    @property
    def inner(self) -> int:
        """Features inside the MLP."""
        return self.mlp_width or 4 * self.width

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.along(self.image_px)

    @property
    def placed(self) -> int:
        """Tokens before the patches that have a position: class tokens and the teacher's."""
        return self.class_tokens + self.distillation

    @property
    def special(self) -> int:
        """Tokens before the patches."""
        return self.placed + self.registers

    def along(self, side_px: int) -> int:
        """Return how many patches lie along a side."""
        return (side_px - self.patch_px) // self.step_px + 1

    def fills(self, side_px: int) -> bool:
        """Say whether patches cover a side to its end."""
        return side_px >= self.patch_px and (side_px - self.patch_px) % self.step_px == 0

    def native_pool(self, pool: Pool) -> Pool:
        """Return what the head sees: for `native`, what transformers' class of its kind shows it.

        That is the class token, and for a DINOv2, which has LayerScale, the mean patch beside it.
        """
        if pool != "native":
            return pool
        return "cls" if self.layer_scale is None else "cls+mean"


def drawn_architecture(
    options: Mapping[str, Any], section: EncoderSection, *, class_tokens: int = 1
) -> Architecture:
    """Return what the options of a `config` start describe, with so many class tokens.

    Raises:
        ModelError: Unknown options, or values out of range.
    """
    refuse_unknown(options, set(Architecture.model_fields) - _SAID_ELSEWHERE)
    try:
        made = Architecture.model_validate(dict(options))
        return said_by(made, section, class_tokens=class_tokens)
    except ValidationError as error:
        raise ModelError(
            "These options make no Vision Transformer",
            got=faults_in(error),
            remedy="Correct `start.options`",
        ) from error


def said_by(
    architecture: Architecture, section: EncoderSection, *, class_tokens: int = 1
) -> Architecture:
    """Return an architecture with what a section says of it, and with so many class tokens."""
    changes = {
        "image_px": section.input_px,
        "embedding": section.embedding,
        "class_tokens": class_tokens,
    }
    strides = {} if section.stride_px is None else {"stride_px": section.stride_px}
    return architecture.model_copy(update=changes | strides)


def refuse_misfits(
    architecture: Architecture, learner: TokenLearnerSection | None, *, pool: Pool
) -> None:
    """Refuse parts that do not fit together, all at once.

    Args:
        architecture: Of the encoder.
        learner: The TokenLearner in it, if any.
        pool: What the head sees; `mean` where it sees the patches.

    Raises:
        ModelError: Naming each, and what would fit.
    """
    problems = [*_odd_patches(architecture), *_odd_widths(architecture)]
    if learner is not None:
        problems += _odd_learner(architecture, learner, architecture.native_pool(pool))
    if problems:
        raise ModelError(
            "These parts of a Vision Transformer do not fit together",
            got="; ".join(problems),
            remedy="Correct `input_px`, `stride_px`, `token_learner` or `start.options`",
        )


def _odd_patches(architecture: Architecture) -> list[str]:
    side, patch, step = architecture.image_px, architecture.patch_px, architecture.step_px
    if step > patch:
        return [f"stride_px {step} leaves pixels between patches of {patch} px (1 to {patch} do)"]
    if architecture.fills(side):
        return []
    below = patch + max(side - patch, 0) // step * step
    near = [below, below + step] if side >= patch else [patch]
    return [
        f"input_px {side} is not filled by patches of {patch} px every {step} px"
        f" ({' or '.join(map(str, near))} is)"
    ]


def _odd_widths(architecture: Architecture) -> list[str]:
    width, problems = architecture.width, list[str]()
    if width % architecture.heads:
        near = [n for n in range(1, width + 1) if width % n == 0 and n <= 2 * architecture.heads]
        problems.append(f"width {width} is not shared by {architecture.heads} heads ({near} share)")
    if architecture.positions == "sincos" and width % 4:
        problems.append(f"positions sincos need a width that is a multiple of 4, not {width}")
    return problems


def _odd_learner(architecture: Architecture, learner: TokenLearnerSection, pool: Pool) -> list[str]:
    problems, after = list[str](), learner.after_block
    if after > architecture.depth:
        problems.append(f"token_learner.after_block {after} of {architecture.depth} blocks")
    if after == architecture.depth and pool == "cls":
        problems.append(
            f"token_learner.after_block {after}, the last block: the class token, which the head"
            " sees, would never see the learned tokens (an earlier block or `pool: mean` will do)"
        )
    return problems
