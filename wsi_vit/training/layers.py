"""How deep a parameter lies in a backbone: told by its name, for any encoder of transformers."""

import re
from collections.abc import Sequence

from wsi_vit.errors import TrainingError

_BLOCK = re.compile(
    r"(?:^|\.)(?:layers?|stages?|blocks?)\.(\d+)\.(?:(?:(?:layers?|blocks?)\.)?(\d+)\.)?"
)
"""`layers.3.`, or a block within a stage: `stages.1.blocks.0.`, `stages.1.layers.0.`, `block.1.0.`;
what is numbered further inside belongs to that block."""
_FIRST = re.compile(r"embed|_token|(?:^|\.)stem")
"""Part of the name of what comes before the first block."""


def layers_to_head(names: Sequence[str]) -> list[int]:
    """Return for each of a backbone's parameters how many layers lie between it and the head.

    What comes after the last block (a last norm) is 0 away, the L blocks are 1 to L, counted from
    the last, and embeddings are L + 1 (Bao et al. 2022, BEiT, `get_num_layer_for_vit` of its code,
    which numbers them from the other end). Blocks of stages are counted through. What lies in a
    stage beside its blocks counts with the last block that is named before it: patch merging with
    the stage that it ends, a stage's own patch embedding with the stage before.

    Args:
        names: Of the backbone's parameters, in the order of `named_parameters`.

    Raises:
        TrainingError: No name tells a block.
    """
    found = [_block_of(name) for name in names]
    stages = {block[0] for block in found if block and block[1] is not None}
    blocks = sorted({_whole(block) for block in found if block and _is_block(block, stages)})
    if not blocks:
        raise _unknown(names)
    layer_of = {block: number for number, block in enumerate(blocks, start=1)}
    layers: list[int] = []
    reached = 0
    for name, block in zip(names, found, strict=True):
        if block is None:
            layers.append(0 if _FIRST.search(name) else len(blocks) + 1)
            continue
        reached = layer_of[_whole(block)] if _is_block(block, stages) else reached
        layers.append(reached)
    return [len(blocks) + 1 - layer for layer in layers]


def _block_of(name: str) -> tuple[int, int | None] | None:
    """Return the numbers of stage and block in a name; a network without stages has one number."""
    match = _BLOCK.search(name)
    if match is None:
        return None
    return int(match[1]), None if match[2] is None else int(match[2])


def _is_block(block: tuple[int, int | None], stages: set[int]) -> bool:
    return block[1] is not None or block[0] not in stages


def _whole(block: tuple[int, int | None]) -> tuple[int, int]:
    return block[0], block[1] or 0


def _unknown(names: Sequence[str]) -> TrainingError:
    return TrainingError(
        "The layers of this backbone cannot be told from its names",
        got=names[:3],
        known=["layers.0.", "layer.0.", "blocks.0.", "stages.0.blocks.0."],
        remedy="Leave `layer_decay` out, or choose another backbone",
    )
