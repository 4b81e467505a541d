"""What a classifier lets be seen of itself: attention between tokens, or the last feature maps."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from wsi_vit.models.sections import Pool


@dataclass(frozen=True)
class LearnedTokens:
    """Where a TokenLearner put a few tokens in the place of all patches."""

    maps: Tensor
    """Weight of every patch in every learned token, (B, learned tokens, patches), 0 or more."""
    after_block: int
    """Blocks before it see all patches; 1 is the first."""


@dataclass(frozen=True)
class Attended:
    """A forward pass with the weights of every block; in autograd's graph where that is on."""

    attention: tuple[Tensor, ...]
    """Of each block, (B, heads, tokens, tokens); rows sum to 1. Special tokens come first, then
    patches row by row (or learned tokens)."""
    logits: Tensor
    """(B, classes)."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    special: int
    """Tokens before the patches; the first is the class token, where there is one."""
    pool: Pool
    """What the head sees: the class token, the mean of all others, or both; never `native`."""
    learned: LearnedTokens | None = None
    own_tokens: bool = False
    """Whether each class has a token of its own, the first ones in their order; then `pool` is
    `cls`, and means a class's own."""


@dataclass(frozen=True)
class FeatureMaps:
    """A forward pass with the last maps before the head; in autograd's graph where that is on."""

    last: Tensor
    """(B, features, rows, columns), or (B, places, features) with the places row by row."""
    logits: Tensor
    """(B, classes), or of a model of pixels (B, classes, H, W)."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the maps."""
        if self.last.ndim == 4:
            return self.last.shape[2], self.last.shape[3]
        side = math.isqrt(self.last.shape[1])
        return side, side

    def as_maps(self, like: Tensor) -> Tensor:
        """Return what has the shape of `last` as (B, features, rows, columns)."""
        return like if like.ndim == 4 else like.transpose(1, 2).unflatten(2, self.grid)


@contextmanager
def noting_outputs(module: nn.Module) -> Generator[list[Any]]:
    """Collect what a module gives, as it gives it: an entry a forward pass."""
    found: list[Any] = []
    watching = module.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    try:
        yield found
    finally:
        watching.remove()


@contextmanager
def writing_attention_down(network: Any) -> Generator[None]:
    """Let a network of transformers compute attention step by step, which alone keeps its weights.

    `output_attentions` gives an empty tuple under any other implementation (transformers 5.23).
    """
    usual = network.config._attn_implementation
    network.set_attn_implementation("eager")
    try:
        yield
    finally:
        network.set_attn_implementation(usual)
