"""Blocks that forget, until the backward pass, all but their input (Chen et al. 2016).

Activations of a Transformer's blocks are most of the memory that training takes. With only the
input of each block kept, the backward pass computes the block again, with the same random numbers,
so that losses and gradients are the same to the last bit.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from wsi_vit.errors import ModelError


class Recomputable(nn.Module):
    """A block of ours that can forget."""

    forgets = False
    """Whether it does, in training."""

    def __call__(self, *inputs: Any) -> Any:
        """Return what `forward` does."""
        if self.forgets and self.training and torch.is_grad_enabled():
            return checkpoint(super().__call__, *inputs, use_reentrant=False)
        return super().__call__(*inputs)


def recompute(model: nn.Module) -> None:
    """Let the blocks of a model forget: ours by themselves, transformers' by their own switch.

    Raises:
        ModelError: There are no such blocks in it.
    """
    blocks, network = _blocks(model), _of_transformers(model)
    for block in blocks:
        block.forgets = True
    if network is not None:
        network.activation_checkpointing_enable({"use_reentrant": False})
    elif not blocks:
        raise ModelError(
            "This network has no blocks that could be computed again",
            got=type(model.get_submodule("network")).__name__,
            known=["our Vision Transformer under any head, EoMT, SegFormer, most classifiers"],
            remedy="Leave `training.recompute` out; to save memory, lower `batch_size` and raise "
            "`accumulate`",
        )


def remember(model: nn.Module) -> None:
    """Take `recompute` back."""
    for block in _blocks(model):
        block.forgets = False
    network = _of_transformers(model)
    if network is not None:
        network.activation_checkpointing_disable()


def _blocks(model: nn.Module) -> list[Recomputable]:
    return [module for module in model.modules() if isinstance(module, Recomputable)]


def _of_transformers(model: nn.Module) -> Any:
    """Return a model's network where it is transformers' and has the switch; else None."""
    network = model.get_submodule("network")
    return network if getattr(network, "supports_gradient_checkpointing", False) else None
