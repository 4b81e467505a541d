"""Training steps of our Vision Transformer beside transformers' and timm's: networks and clocks.

A step is forward, cross-entropy, backward and fused AdamW on images that lie ready, in a loop that
does nothing else. All take their step in each round, one after the other, so that a change of the
machine's load meets all alike; a ratio is the median over rounds, with the lower bound of its 95 %
interval (bootstrap over rounds). On a CPU the seconds are the process's own, on one thread.
`benchmarks.training` tells the figures.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from wsi_vit.models.network import NetworkModel
from wsi_vit.models.sections import TokenLearnerSection
from wsi_vit.models.vit.architecture import Architecture
from wsi_vit.models.vit.transformer import Encoder, VisionTransformer

SIDE_PX, CLASSES = 224, 9
TINY = {"hidden_size": 192, "num_attention_heads": 3, "num_labels": CLASSES, "image_size": SIDE_PX}
"""ViT-Ti, in transformers' words."""

Step = Callable[[], None]


def ours(depth: int, learner: TokenLearnerSection | None = None, **options: Any) -> nn.Module:
    """Return our network; ViT-Ti's width."""
    architecture = Architecture.model_validate({"depth": depth, **options})
    encoder = Encoder(architecture, token_learner=learner)
    return VisionTransformer(encoder, classes=CLASSES, pool="native")


def transformers_vit(depth: int) -> nn.Module:
    """Return transformers' network of the same size."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(**TINY, num_hidden_layers=depth, intermediate_size=768)
    return ViTForImageClassification(config)


def transformers_dinov2(depth: int) -> nn.Module:
    """Return transformers' DINOv2 of the same size."""
    from transformers import Dinov2Config, Dinov2ForImageClassification

    config = Dinov2Config(**TINY, num_hidden_layers=depth, patch_size=16)
    return Dinov2ForImageClassification(config)


def timm_vit(depth: int) -> nn.Module | None:
    """Return timm's network of the same size; None where it is not installed."""
    try:
        from timm.models.vision_transformer import (  # pyright: ignore[reportMissingImports]
            VisionTransformer as TimmViT,
        )
    except ImportError:
        return None
    return TimmViT(embed_dim=192, depth=depth, num_heads=3, num_classes=CLASSES)


def learner(tokens: int, version: Any = "v1.1") -> TokenLearnerSection:
    """Return a TokenLearner after the first block."""
    return TokenLearnerSection(after_block=1, tokens=tokens, version=version)


def networks(depth: int) -> dict[str, nn.Module]:
    """Return all that take part."""
    found = {
        "ours": ours(depth),
        "linear": ours(depth, embedding="linear"),
        "transformers": transformers_vit(depth),
        "timm": timm_vit(depth),
        "our_dinov2": ours(depth, layer_scale=1.0),
        "dinov2": transformers_dinov2(depth),
        "four": ours(4),
        "learner": ours(4, learner(2)),
        "learner_8": ours(4, learner(8)),
        "learner_original": ours(4, learner(2, "original")),
    }
    return {name: network for name, network in found.items() if network is not None}


class Bench:
    """Images, a device, and how time is taken on it."""

    def __init__(self, device: str, precision: str, batch: int) -> None:
        self.device, self.precision = device, precision
        self.images = torch.randn(batch, 3, SIDE_PX, SIDE_PX, device=device)
        self.targets = torch.randint(0, CLASSES, (batch,), device=device)

    def step_of(self, network: nn.Module) -> Step:
        """Return a training step of a network, which takes pictures and gives logits."""

        def loss() -> Tensor:
            said = network(self.images)
            logits = getattr(said, "logits", said)
            return F.cross_entropy(logits.float(), self.targets)

        return self._step(network, loss)

    def step_of_model(
        self, model: NetworkModel, kernel: Literal["fused", "foreach"] = "fused"
    ) -> Step:
        """Return a training step of a model of ours, which normalises pictures itself."""
        images = torch.randint(0, 256, self.images.shape, dtype=torch.uint8, device=self.device)
        targets = self.targets
        if model.task == "segmentation":
            targets = targets[:, None, None].expand(-1, SIDE_PX, SIDE_PX).contiguous()
        return self._step(model, lambda: model.loss({"images": images, "targets": targets}), kernel)

    def _step(
        self,
        network: nn.Module,
        loss: Callable[[], Tensor],
        kernel: Literal["fused", "foreach"] = "fused",
    ) -> Step:
        network.train().to(self.device)
        fused = kernel == "fused"
        optimiser = torch.optim.AdamW(
            network.parameters(), 1e-4, fused=fused, foreach=None if fused else True
        )

        def step() -> None:
            optimiser.zero_grad()
            with self._casting():
                found = loss()
            found.backward()
            optimiser.step()

        return step

    def now(self) -> float:
        """Return seconds: this process's own on a CPU, the clock's once a GPU is done."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, step: Callable[[], object]) -> float:
        """Return how long a step takes."""
        began = self.now()
        step()
        return self.now() - began

    def _casting(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device, torch.bfloat16)


def measure(bench: Bench, *, depth: int, rounds: int, many: int) -> dict[str, Any]:
    """Take all steps in turns; those that are held to one per cent of each other in many rounds."""
    torch.manual_seed(0)
    steps = {name: bench.step_of(network) for name, network in networks(depth).items()}
    close = {name: steps[name] for name in ("ours", "transformers", "timm") if name in steps}
    times = taken_in_turns(steps, bench, rounds=rounds)
    found = _ratios(taken_in_turns(close, bench, rounds=many), CLOSE)
    found |= _ratios(times, APART)
    step_s = {name: round(statistics.median(each), 4) for name, each in times.items()}
    return found | {"step_s": step_s, "rounds": rounds, "many_rounds": many, "depth": depth}


CLOSE = {
    "vit_vs_transformers": ("transformers", "ours"),
    "vit_vs_timm": ("timm", "ours"),
}
"""Whose steps over whose, where a per cent counts."""
APART = {
    "linear_vs_conv": ("ours", "linear"),
    "vs_transformers_of_dinov2": ("dinov2", "our_dinov2"),
    "token_learner": ("four", "learner"),
    "token_learner_8": ("four", "learner_8"),
    "token_learner_original": ("four", "learner_original"),
}


def _ratios(
    times: Mapping[str, Sequence[float]], pairs: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (slow, fast) in pairs.items():
        found |= ratio(key, times.get(slow), times[fast])
    return found


def taken_in_turns(
    steps: Mapping[str, Step], bench: Bench, *, rounds: int
) -> dict[str, list[float]]:
    """Return each step's seconds, a round each; the first step of each is not counted."""
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(steps) if number % 2 else list(steps)[::-1]:
            times[name].append(bench.seconds(steps[name]))
    return times


def ratio(key: str, slow: Sequence[float] | None, fast: Sequence[float]) -> dict[str, Any]:
    """Return the median ratio and the lower bound of its 95 % interval; null without a peer."""
    if slow is None:
        return {key: None, f"{key}_lower": None}
    each = np.asarray(slow) / np.asarray(fast)
    drawn = np.random.default_rng(0).choice(each, (2_000, len(each)))
    lower = np.quantile(np.median(drawn, axis=1), 0.025)
    return {key: round(float(np.median(each)), 3), f"{key}_lower": round(float(lower), 3)}
