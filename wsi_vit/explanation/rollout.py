"""Attention followed from the head down to the patches: arithmetic on tensors only.

A block's attention says what each token takes of the tokens before it. Written as a matrix a block,
what the last tokens hold of the first is their product, from the last block to the first.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from wsi_vit.explanation.section import Fusion
from wsi_vit.models.attended import LearnedTokens
from wsi_vit.models.sections import Pool


def fused(attention: Tensor, fusion: Fusion) -> Tensor:
    """Return the weights (B, tokens, tokens) of the heads (B, heads, tokens, tokens) together."""
    if fusion == "mean":
        return attention.mean(1)
    return attention.amax(1) if fusion == "max" else attention.amin(1)


def without_smallest(weights: Tensor, share: float) -> Tensor:
    """Return weights (B, tokens, tokens) of which the smallest share, of each B, is 0."""
    flat = weights.flatten(1)
    count = int(share * flat.shape[1])
    if not count:
        return weights
    smallest = flat.topk(count, dim=1, largest=False, sorted=False).indices
    return flat.scatter(1, smallest, 0.0).view_as(weights)


def with_residual(weights: Tensor) -> Tensor:
    """Return 0.5 A + 0.5 I, rows brought to a sum of 1 (Abnar & Zuidema 2020, section 3).

    The half that stays is the residual sum: a token is added to what it takes of the others.
    """
    mixed = 0.5 * weights + 0.5 * _identity(weights)
    return mixed / mixed.sum(-1, keepdim=True)


def rollout_matrices(
    attention: Sequence[Tensor], *, fusion: Fusion = "mean", discard: float = 0.0
) -> list[Tensor]:
    """Return what each block's tokens hold of the tokens before it; rows sum to 1.

    Args:
        attention: Of each block, from the first, (B, heads, tokens, tokens).
        fusion: How heads become one.
        discard: Share of the smallest weights that count as none.
    """
    return [with_residual(without_smallest(fused(one, fusion), discard)) for one in attention]


def gradient_matrices(attention: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return I + mean over heads of max(0, dy/dA * A) for each block.

    Chefer, Gur & Wolf, "Generic Attention-model Explainability" (ICCV 2021), equations 5 and 6: the
    relevance R, first I, becomes R + A' R in each block, which is (I + A') R. Rows do not sum to 1:
    what speaks against the class, or for nothing, is left out.

    Args:
        attention: Of each block, from the first, (B, heads, tokens, tokens).
        gradients: Of a class's logit with respect to each, of the same shapes.
    """
    pairs = zip(attention, gradients, strict=True)
    weighted = [(gradient * one).clamp(min=0).mean(1) for one, gradient in pairs]
    return [weights + _identity(weights) for weights in weighted]


def with_learned(
    matrices: Sequence[Tensor], learned: LearnedTokens | None, *, special: int
) -> list[Tensor]:
    """Return the matrices with a TokenLearner's between those of the blocks it stands between.

    Special tokens stay what they are, and a learned token holds of each patch its share of the map,
    whose rows are brought to a sum of 1 (the original's do not have it). It leads from (special +
    patches) to (special + learned) tokens.
    """
    if learned is None:
        return list(matrices)
    maps = learned.maps
    whole = maps.new_zeros(len(maps), special + maps.shape[1], special + maps.shape[2])
    whole[:, :special, :special] = torch.eye(special, device=maps.device)
    shares = maps / maps.sum(-1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    whole[:, special:, special:] = shares
    cut = learned.after_block
    return [*matrices[:cut], whole, *matrices[cut:]]


def followed(matrices: Sequence[Tensor], start: Tensor) -> Tensor:
    """Return start A_L ... A_1: what rows over the last tokens hold of the first.

    Args:
        matrices: From the first block to the last, (B, tokens after, tokens before).
        start: (rows, tokens) or (B, rows, tokens) over the last tokens; the identity gives all of
            rollout, `looked_at` the one row that is wanted, which is far quicker.

    Returns:
        (B, rows, first tokens). Rows sum to 1 where those of the matrices and of `start` do.
    """
    rows = start.expand(len(matrices[0]), *start.shape[-2:])
    for matrix in reversed(matrices):
        rows = rows @ matrix
    return rows


def looked_at(pool: Pool, *, special: int, tokens: int) -> Tensor:
    """Return how much the head sees of each of the last tokens, (1, tokens), summing to 1.

    The class token's row for `cls`; for `mean` the mean of all but the special tokens; half of each
    for `cls+mean`.
    """
    row = torch.zeros(1, tokens)
    parts = pool.split("+")
    if "cls" in parts:
        row[:, 0] = 1 / len(parts)
    if "mean" in parts:
        row[:, special:] = 1 / len(parts) / (tokens - special)
    return row


def _identity(weights: Tensor) -> Tensor:
    return torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
