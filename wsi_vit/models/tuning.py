"""Which part of a backbone learns."""

from collections.abc import Iterator
from itertools import chain

from torch import nn
from torch.nn import Parameter

from wsi_vit.errors import ModelError
from wsi_vit.models.lora import adapt
from wsi_vit.models.sections import LastBlocks, Lora, Tuning


def freeze(backbone: nn.Module, tuning: Tuning) -> set[int]:
    """Keep parts of a backbone from learning; return the identities of what never will.

    Raises:
        ModelError: The backbone has fewer blocks than are to learn, or nothing that is adapted.
    """
    for parameter in backbone.parameters():
        parameter.requires_grad_(tuning == "full")
    if isinstance(tuning, LastBlocks):
        for parameter in _last_blocks(backbone, tuning.last_blocks):
            parameter.requires_grad = True
    if isinstance(tuning, Lora):
        adapt(backbone, tuning)
    return {id(p) for p in backbone.parameters() if not p.requires_grad}


def _last_blocks(backbone: nn.Module, count: int) -> Iterator[Parameter]:
    """Yield the parameters of the last blocks and of the norms that follow them."""
    stacks = [m for m in backbone.modules() if isinstance(m, nn.ModuleList)]
    blocks = max(stacks, key=len, default=nn.ModuleList())
    if count > len(blocks):
        raise ModelError(
            "The network has fewer blocks than are to be trained",
            got=f"last_blocks {count}",
            known=[f"1 to {len(blocks)}"],
            remedy="Lower `last_blocks`, or choose `tuning: full`",
        )
    norms = [m for name, m in backbone.named_children() if "norm" in name]
    return chain.from_iterable(m.parameters() for m in [*blocks[len(blocks) - count :], *norms])
