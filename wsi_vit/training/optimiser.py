"""AdamW over a model's parameters: who decays, who learns at which rate, who is frozen."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from wsi_vit.errors import TrainingError
from wsi_vit.models.model import Model
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
        groups = _groups(self.parameters, inner, training)
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


def _groups(
    parameters: list[Parameter], backbone: set[int], training: TrainingSection
) -> list[dict[str, Any]]:
    """Sort parameters by rate and decay; a vector (of a norm, a bias, a scale) does not decay."""
    head_rate, decay = training.learning_rate, training.weight_decay
    backbone_rate = head_rate if training.backbone_rate is None else training.backbone_rate
    groups: dict[tuple[bool, bool], list[Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((id(parameter) in backbone, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": members,
            "lr": backbone_rate if inner else head_rate,
            "weight_decay": decay if decays else 0.0,
        }
        for (inner, decays), members in groups.items()
    ]


def _flat(groups: list[dict[str, Any]]) -> list[Parameter]:
    return [parameter for group in groups for parameter in group["params"]]
