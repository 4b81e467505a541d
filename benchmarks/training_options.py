"""What each option gives that makes training faster or smaller, one at a time, side by side.

A step is the loop's (`Engine.step`: augmentation, forward, backward, clipping, AdamW). The same
model takes it plainly and with each option in turns; a ratio is the median over rounds, seconds
plainly over seconds with the option. Memory is measured in a process of each one's own. On a CPU it
is what the process grows by, the compiler's own needs among it; on CUDA what is allocated.

- `fused_adamw`, `channels_last_unet`, `channels_last_patches` are no options of a recipe: the first
  is always on, the others never, and this is why.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.vit import SIDE_PX, Bench, Step, ratio, taken_in_turns
from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.sections import UnetSection, VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.training.cost import Candidate, Cost, measure_costs
from wsi_vit.training.section import TrainingSection

OPTIONS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "compile": {"compile": "default"},
    "recompute": {"recompute": "blocks"},
    "both": {"compile": "default", "recompute": "blocks"},
}
ON_CUDA: Mapping[str, dict[str, Any]] = {"cuda_graph": {"compile": "reduce-overhead"}}


def with_options(
    model: VitSection,
    labels: LabelMap,
    bench: Bench,
    *,
    asked: Mapping[str, dict[str, Any]] = OPTIONS,
    rounds: int,
) -> dict[str, Any]:
    """Return steps a second and peak memory of each option, and their ratios to none."""
    asked = {**asked, **(ON_CUDA if bench.device == "cuda" else {})}
    candidates = {
        name: Candidate(
            model=model,
            labels=labels,
            training=TrainingSection.model_validate(
                {"batch_size": len(bench.images), "precision": bench.precision} | changes
            ),
            augmentation=Augmentation(preset="none"),
        )
        for name, changes in asked.items()
    }
    costs = measure_costs(candidates, rounds=rounds)
    plain = costs["plain"]
    found: dict[str, Any] = {"options": {name: _told(cost) for name, cost in costs.items()}}
    for name in set(costs) - {"plain"}:
        found |= ratio(f"{name}_speedup", plain.seconds, costs[name].seconds)
        found[f"{name}_memory"] = round(costs[name].peak_bytes / plain.peak_bytes, 3)
    return dict(sorted(found.items()))


def _told(cost: Cost) -> dict[str, float]:
    median = sorted(cost.seconds)[len(cost.seconds) // 2]
    return {"steps_s": round(1 / median, 3), "peak_mb": round(cost.peak_bytes / 1e6)}


def of_the_optimiser(model: Callable[[], NetworkModel], bench: Bench, *, rounds: int) -> Any:
    """Return what fused AdamW makes of a whole step, over AdamW that loops over lists."""
    steps = {
        "foreach": bench.step_of_model(model(), "foreach"),
        "fused": bench.step_of_model(model(), "fused"),
    }
    times = taken_in_turns(steps, bench, rounds=rounds)
    return ratio("fused_adamw", times["foreach"], times["fused"])


def of_channels_last(
    model: Callable[[], NetworkModel], labels: LabelMap, bench: Bench, *, rounds: int
) -> dict[str, Any]:
    """Return what it gives a convolution to have an image's channels side by side."""
    found: dict[str, Any] = {}
    makers = {"unet": lambda: _unet(labels), "patches": model}
    for name, make in makers.items():
        steps: dict[str, Step] = {
            "usual": bench.step_of_model(make()),
            "last": bench.step_of_model(_channels_last(make())),
        }
        times = taken_in_turns(steps, bench, rounds=rounds)
        found |= ratio(f"channels_last_{name}", times["usual"], times["last"])
    return found


def _unet(labels: LabelMap) -> NetworkModel:
    start = ConfigStart(options={})
    return build_model(UnetSection(start=start, input_px=SIDE_PX), labels, "segmentation")


def _channels_last(model: NetworkModel) -> NetworkModel:
    network: nn.Module = model.network
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return model
