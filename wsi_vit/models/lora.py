"""Low-rank adapters in the attention of a backbone (Hu et al. 2022), made by peft.

A frozen weight W (out, in) acts as W + (alpha / rank) B A, of which A (rank, in) and B (out, rank)
learn; B begins at zero, so that a model begins as it was. In training this is peft's own forward
pass; otherwise the sum is one weight, the same that is saved, so that what is judged is what is
kept, bit for bit, and a saved model needs neither adapters nor peft.
"""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.models.section import ModelSection
from wsi_vit.models.sections import Lora

_ATTENTION = re.compile(
    r"(?:^|\.)(?:self_)?att(?:entio)?n\.(?:\w+\.)*?"
    r"(?:query|key|value|qkv|[qkvo]_proj|out_proj|proj|output|output\.dense)$"
)
"""Names of the linear layers that make queries, keys and values and mix the heads: `q_proj` to
`o_proj` of transformers' ViT, DeiT, DINOv2 and Swin, `out_proj` of its EoMT, `query` to
`output.dense` of its Swin V2, `qkv` and `output` of our own ViT, `qkv` and `proj` of timm's."""
_INSIDE, _ADAPTER = "backbone", "default"


class Adapted(nn.Module):
    """A linear layer with an adapter, as far as its model needs to know."""

    base_layer: nn.Linear
    get_delta_weight: Callable[[str], Tensor]
    """Peft's own: what an adapter adds, (out, in)."""

    def merged_weight(self) -> Tensor:
        """Return the one weight (out, in) that layer and adapter come to, in the layer's type."""
        return self.base_layer.weight + self.get_delta_weight(_ADAPTER)

    def plain(self) -> nn.Linear:
        """Return a linear layer that gives what this one gives in evaluation."""
        layer = self.base_layer
        with torch.device("meta"):  # draws no random numbers: saving changes no run
            merged = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        merged.weight = nn.Parameter(self.merged_weight().detach())
        if layer.bias is not None:
            merged.bias = nn.Parameter(layer.bias.detach())
        return merged


def adapt(backbone: nn.Module, lora: Lora) -> None:
    """Give every linear layer of a backbone's attention an adapter; nothing else of it learns.

    In a layer that makes queries, keys and values at once, as in our own ViT, the three share A.

    Raises:
        ModelError: There is no attention in it, or peft is not installed.
    """
    names = attention_layers(backbone)
    if not names:
        raise ModelError(
            "This backbone has no attention to adapt",
            got=type(backbone).__name__,
            known=["ViT, DeiT, DINOv2, Swin, EoMT and our own ViT"],
            remedy="Choose another `tuning`: full, head or last_blocks",
        )
    peft = _peft()
    config = peft.LoraConfig(
        r=lora.lora_rank,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=[f"{_INSIDE}.{name}" for name in names],
        bias="none",
    )
    config._register_custom_module({nn.Linear: _adapted_linear()})
    # Within a holder, so that what peft notes on a model is not left on ours.
    peft.inject_adapter_in_model(config, nn.ModuleDict({_INSIDE: backbone}), _ADAPTER)


def attention_layers(backbone: nn.Module) -> list[str]:
    """Return the names of the linear layers that are adapted: query, key, value and output."""
    return [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and _ATTENTION.search(name)
    ]


@contextmanager
def merged(network: nn.Module) -> Generator[None]:
    """Let a network have plain layers in the place of its adapted ones, to be written as such."""
    adapted = {name: m for name, m in network.named_modules() if isinstance(m, Adapted)}
    try:
        for name, layer in adapted.items():
            network.set_submodule(name, layer.plain())
        yield
    finally:
        for name, layer in adapted.items():
            network.set_submodule(name, layer)


def without_adapters(section: ModelSection) -> ModelSection:
    """Return what the section of a saved model says: adapters are in its weights by then."""
    adapted = isinstance(getattr(section, "tuning", None), Lora)
    return section.model_copy(update={"tuning": "full"}) if adapted else section


@cache
def _adapted_linear() -> type[nn.Module]:
    """Return peft's adapted layer, which in evaluation computes with the one merged weight."""
    from peft.tuners.lora.layer import Linear

    class AdaptedLinear(Linear, Adapted):
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if self.training:
                return super().forward(x, *args, **kwargs)
            with torch.autocast(x.device.type, enabled=False):
                weight = self.merged_weight()
            return F.linear(x, weight, self.base_layer.bias)

    return AdaptedLinear


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ModelError(
            "Adapters need a library that is not installed",
            got=str(error),
            remedy="Install it (`pip install peft`), or choose another `tuning`",
        ) from error
    return peft
