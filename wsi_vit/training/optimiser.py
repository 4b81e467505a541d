"""AdamW over a model's parameters: who decays, who learns at which rate, who is frozen."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from wsi_vit.errors import TrainingError
from wsi_vit.models.model import Model
from wsi_vit.training.layers import layers_to_head
from wsi_vit.training.section import TrainingSection


class Optimiser:
    """AdamW (Loshchilov and Hutter 2019) whose state is known by the parameters' names."""

    def __init__(self, model: Model, training: TrainingSection) -> None:
        named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not named:
            raise TrainingError(
                "Nothing in this model may learn", remedy="Unfreeze a part of it in the recipe"
            )
        inner = {id(parameter) for parameter in model.backbone_parameters()}
        self.parameters = list(named.values())
        self.backbone = [p for p in self.parameters if id(p) in inner]
        groups = _groups(named, _rates(named, inner, training), training.weight_decay)
        self.highest = [group["lr"] for group in groups]
        self.torch = torch.optim.AdamW(groups, fused=True)
        # AdamW numbers its state group by group.
        order = {id(p): number for number, p in enumerate(_flat(groups))}
        self._numbers = {name: order[id(p)] for name, p in named.items()}
        self._named = named

    def set_rate(self, share: float) -> None:
        """Set every group's rate to a share of its highest."""
        for group, highest in zip(self.torch.param_groups, self.highest, strict=True):
            group["lr"] = highest * share

    def freeze_backbone(self) -> None:
        """Keep the pretrained part from learning; its moments stay as they are."""
        for parameter in self.backbone:
            parameter.requires_grad_(False)  # noqa: FBT003
            parameter.grad = None

    def thaw_backbone(self) -> None:
        """Let the pretrained part learn."""
        for parameter in self.backbone:
            parameter.requires_grad_(True)  # noqa: FBT003

    def state(self) -> dict[str, Tensor]:
        """Return moments and counters, named `<moment>/<parameter>`; none before a first step."""
        return {
            f"{moment}/{name}": value
            for name, parameter in self._named.items()
            for moment, value in self.torch.state.get(parameter, {}).items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            TrainingError: The tensors belong to other parameters.
        """
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            moment, _, name = key.partition("/")
            if name not in self._numbers:
                raise TrainingError(
                    "The checkpoint's optimiser knows a parameter that this model lacks",
                    got=name,
                    remedy="Resume with the recipe it was started with, or train anew",
                )
            state.setdefault(self._numbers[name], {})[moment] = value
        groups = self.torch.state_dict()["param_groups"]
        self.torch.load_state_dict({"state": state, "param_groups": groups})


def _rates(
    named: Mapping[str, Parameter], backbone: set[int], training: TrainingSection
) -> dict[str, float]:
    """Return the highest rate of every parameter.

    The backbone's falls with the distance from the head: rate * decay^(L + 1 - layer), where
    embeddings are layer 0 and L is the last block (Clark et al. 2020, ELECTRA, appendix B; Bao et
    al. 2022, BEiT).
    """
    head, inner_rate = training.learning_rate, training.backbone_rate
    inner_rate = head if inner_rate is None else inner_rate
    rates = dict.fromkeys(named, head)
    inner = [name for name, parameter in named.items() if id(parameter) in backbone]
    if training.layer_decay == 1 or not inner:
        return rates | dict.fromkeys(inner, inner_rate)
    away = zip(inner, layers_to_head(inner), strict=True)
    return rates | {name: inner_rate * training.layer_decay**layers for name, layers in away}


def _groups(
    named: Mapping[str, Parameter], rates: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Sort parameters by rate and decay; a vector (of a norm, a bias, a scale) does not decay."""
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for name, parameter in named.items():
        key = (rates[name], weight_decay if parameter.ndim > 1 else 0.0)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": members, "lr": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]


def _flat(groups: list[dict[str, Any]]) -> list[Parameter]:
    return [parameter for group in groups for parameter in group["params"]]
