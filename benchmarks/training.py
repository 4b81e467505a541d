"""How fast a Vision Transformer trains, beside transformers, timm and Hugging Face's Trainer.

    python -m benchmarks.training [--quick] [--json] [--device cuda] [--precision bf16]

ViT-Ti/16 at 224 px, batches of 16 (two with `--quick`), everything else equal; how time is taken
stands in `benchmarks.vit`. Each ratio has its 95 % lower bound beside it; where a goal lies within
a few per cent of 1 there are 100 rounds, because single steps vary by a tenth, elsewhere 15.

- `vit_vs_transformers`, `vit_vs_timm`: their seconds a step over ours; goal: lower bound >= 0.97.
- `linear_vs_conv`: our two ways to project patches, seconds by convolution over those by matrix.
- `token_learner`: four blocks on 14 x 14 patches without TokenLearner, over those with two tokens
  of version 1.1 after block 1; goal >= 2.9. `token_learner_8`, and `_original`. A batch of two
  shows less of it than there is: AdamW's share is the same for both.
- `vs_transformers_of_dinov2`: a ViT with LayerScale, beside transformers' Dinov2.
- `loop_overhead`: what `wsi_vit.training` takes for a step (collating, clipping, seeds, averages,
  records) over a bare step of the same model, less 1; goal <= 0.03.
- `vs_hf_trainer`: a step of the Trainer over one of our loop, in turns of several steps; goal >= 1.
- `options`: steps a second and peak memory of our ViT plainly, with `training.compile`, with
  `training.recompute`, and with both; `compile_speedup`, `recompute_memory` and so on are ratios to
  plainly. `fused_adamw` and `channels_last_...`: see `benchmarks.training_options`.
- On CUDA: `images_s` and `mfu_vs_matmul` of ViT-B/16 (batch 128, `--precision`): its matrix
  products a second over those of a large plain product in the same run; goal >= 0.45 with bf16.
  `compiled_...`: the same with a compiled forward pass. `rehearsal`, with `--quick` on a CPU: all
  of that with a small ViT and small matrices, which shows that it runs; its figures mean nothing.

timm is none of our dependencies (it brings torchvision, which changes how transformers reads
images): install it in a copy of the environment. What is not installed is null.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.telling import options, tell
from benchmarks.training_options import (
    OPTIONS,
    of_channels_last,
    of_the_optimiser,
    with_options,
)
from benchmarks.vit import CLASSES, SIDE_PX, Bench, measure, ratio, transformers_vit
from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.datasets.example import Example
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.sections import VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.training.compilation import Compiled
from wsi_vit.training.loop import learn
from wsi_vit.training.records import Step
from wsi_vit.training.section import Compile, TrainingSection

LABELS = LabelMap(
    classes=tuple(LabelClass(name=f"class {i}", colour=f"#0000{i:02x}") for i in range(CLASSES))
)
BASE = {"width": 768, "depth": 12, "heads": 12}
"""ViT-B/16."""
LARGE = 8192
"""Side of the matrices whose product is the ceiling."""


class Pictures:
    """The same few pictures again and again, decoded: as many examples as asked."""

    def __init__(self, count: int) -> None:
        draw = np.random.default_rng(0)
        self._drawn = draw.integers(0, 256, (8, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Return the examples at these positions."""
        return [
            Example(image=self._drawn[i % 8], target=np.int64(i % CLASSES), key=str(i),
                    slide_id="", patient="")
            for i in indices
        ]  # fmt: skip


def our_model(**architecture: int) -> NetworkModel:
    """Return a classifier of ours; ViT-Ti unless said otherwise."""
    start = ConfigStart(kind="config", options=architecture)
    return build_model(VitSection(start=start, input_px=SIDE_PX), LABELS, "classification")


def looped(bench: Bench, *, steps: int, folder: Path) -> Iterator[Step]:
    """Yield after each step of our loop; there are so many."""
    batch = len(bench.images)
    training = TrainingSection(
        epochs=1, batch_size=batch, workers=0, precision=bench.precision, learning_rate=1e-4
    )
    events = learn(
        our_model(), Pictures(steps * batch), Pictures(batch), training=training,
        augmentation=Augmentation(preset="none"), folder=folder,
    )  # fmt: skip
    return (event for event in events if isinstance(event, Step))


def loop_overhead(bench: Bench, *, rounds: int) -> dict[str, float]:
    """Return what the loop adds to a bare step, as a share, and the upper bound of it."""
    bare = bench.step_of_model(our_model())
    bare_s, loop_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        steps = looped(bench, steps=rounds + 2, folder=Path(folder))
        next(steps)  # what is set up once
        bare()
        for _ in range(rounds):
            bare_s.append(bench.seconds(bare))
            loop_s.append(bench.seconds(lambda: next(steps)))
        steps.close()  # type: ignore[attr-defined]  (a generator)
    found = ratio("bare", bare_s, loop_s)
    return {
        "loop_overhead": round(1 / found["bare"] - 1, 4),
        "loop_overhead_upper": round(1 / found["bare_lower"] - 1, 4),
    }


class Ready(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Normalised pictures for the Trainer, which take no time to read."""

    def __init__(self, bench: Bench, steps: int) -> None:
        self._images, self._count = bench.images.cpu(), steps * len(bench.images)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = self._images[index % len(self._images)]
        return {"pixel_values": image, "labels": torch.tensor(index % CLASSES)}


def trainer_seconds(bench: Bench, *, steps: int) -> float:
    """Return what a step of the Hugging Face Trainer takes, after its first two."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    times: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(bench.now())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=steps + 2, learning_rate=1e-4, report_to=[],
            per_device_train_batch_size=len(bench.images), save_strategy="no", disable_tqdm=True,
            use_cpu=bench.device == "cpu", bf16=bench.precision == "bf16",
            optim="adamw_torch_fused",
        )  # fmt: skip
        Trainer(
            transformers_vit(12), arguments, train_dataset=Ready(bench, steps + 2),
            callbacks=[Watch()],
        ).train()  # fmt: skip
    return (times[-1] - times[1]) / steps


def loop_seconds(bench: Bench, *, steps: int) -> float:
    """Return what a step of our loop takes, after its first two."""
    with tempfile.TemporaryDirectory() as folder:
        events = looped(bench, steps=steps + 3, folder=Path(folder))
        next(events), next(events)
        began = bench.now()
        for _ in range(steps):
            next(events)
        took = bench.now() - began
        events.close()  # type: ignore[attr-defined]  (a generator)
    return took / steps


def vs_trainer(bench: Bench, *, steps: int, rounds: int) -> dict[str, Any]:
    """Let the Trainer and our loop train in turns."""
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(trainer_seconds(bench, steps=steps))
        ours.append(loop_seconds(bench, steps=steps))
    return ratio("vs_hf_trainer", theirs, ours)


def of_the_ceiling(bench: Bench, architecture: dict[str, int], side: int) -> dict[str, float]:
    """Return images a second of a ViT, and its share of what a large matrix product reaches."""
    flops, plain_s = _flops_and_seconds(bench, "none", architecture)
    _, compiled_s = _flops_and_seconds(bench, "default", architecture)
    kind = torch.bfloat16 if bench.precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=bench.device, dtype=kind) for _ in range(2))
    product_s = float(np.median([bench.seconds(lambda: left @ right) for _ in range(30)][5:]))
    ceiling = 2 * side**3 / product_s
    return {
        "images_s": round(len(bench.images) / plain_s, 1),
        "mfu_vs_matmul": round(flops / plain_s / ceiling, 3),
        "compiled_images_s": round(len(bench.images) / compiled_s, 1),
        "compiled_mfu_vs_matmul": round(flops / compiled_s / ceiling, 3),
        "matmul_tflops": round(ceiling / 1e12, 1),
        "peak_mb": round(torch.cuda.max_memory_allocated() / 1e6),
    }


def _flops_and_seconds(
    bench: Bench, how: Compile, architecture: dict[str, int]
) -> tuple[int, float]:
    """Return the matrix products' operations of a step and its seconds; of compiled ones none."""
    from torch.utils.flop_counter import FlopCounterMode

    model = our_model(**architecture)
    step = bench.step_of_model(model)
    if how != "none":
        parts = Compiled(model, how, torch.device(bench.device))
        plainly = step

        def step() -> None:
            with parts.worn():
                plainly()

    for _ in range(5):
        step()
    counter = FlopCounterMode(display=False)
    if how == "none":
        with counter:
            step()
    seconds = float(np.median([bench.seconds(step) for _ in range(30)]))
    return counter.get_total_flops(), seconds


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    bench = Bench(asked.device, asked.precision, 2 if asked.quick else 16)
    rounds, many, small = (5, 5, {"depth": 1}) if asked.quick else (15, 100, {})
    began = time.perf_counter()
    figures = measure(bench, depth=4 if asked.quick else 12, rounds=rounds, many=many)
    figures |= loop_overhead(bench, rounds=many)
    figures |= vs_trainer(bench, steps=2 if asked.quick else 3, rounds=3 if asked.quick else 15)
    section = VitSection(start=ConfigStart(options=small), input_px=SIDE_PX)
    asked_for = {name: OPTIONS[name] for name in OPTIONS if name != "both" or not asked.quick}
    figures |= with_options(section, LABELS, bench, asked=asked_for, rounds=rounds)
    figures |= of_the_optimiser(our_model, bench, rounds=rounds)
    figures |= of_channels_last(our_model, LABELS, bench, rounds=rounds)
    if asked.device == "cuda":
        figures |= of_the_ceiling(Bench("cuda", asked.precision, 128), BASE, LARGE)
    elif asked.quick:
        figures["rehearsal"] = of_the_ceiling(bench, small, 256)
    took = round(time.perf_counter() - began)
    return {**figures, "precision": asked.precision, "batch": len(bench.images), "took_s": took}


def main() -> None:
    """Measure, print, and keep the result of a full run."""
    parser = options(__doc__, quick="the same keys in seconds")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    gpu = torch.cuda.get_device_name() if asked.device == "cuda" else "no GPU used"
    kept_as = "training_cuda" if asked.device == "cuda" else None
    tell("training", run(asked), asked, also=gpu, kept_as=kept_as)


if __name__ == "__main__":
    main()
