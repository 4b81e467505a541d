"""EBHI-Seg, case-disjoint five-fold: our recipes beside a plain fine-tune, in one run.

    python -m benchmarks.ebhi --data DIR --start DIR [--task classification] [--seeds 2] [--parts]
                              [--quick] [--json]

`--data` is EBHI-Seg (or the 269 images of it that come with the project's test data), `--start` a
folder of ViT weights. Classification: recipe `ebhi_classification` against twelve plain epochs
(AdamW falling linearly from 5e-5, and again from 2e-5; flips; a linear head on the class token) of
the same weights, on the same training images, in the same precision, at 224 px. Segmentation:
recipe `ebhi_segmentation` against the mask that is all foreground. Every image is in one test fold;
intervals are from a paired bootstrap over cases. `--seeds` repeats the classification with other
folds and other draws while learning, and sums over seeds before cases are drawn. `--parts` tells
what each part of our recipe gives: how much is lost without it, on the first seed. `--quick` runs
the first fold only. Finished folds are kept in `--runs` and not run again.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.paired import Counts, Rows, as_tensor, by_case, interval, iou_of, judged
from benchmarks.patch_head import normalised
from benchmarks.telling import options, tell

FOLDS, EPOCHS = 5, 12
RUNS = "runs/benchmarks/ebhi"


@dataclass(frozen=True)
class Bench:
    """Where things lie, and which draws are made."""

    data: Path
    start: Path | None
    runs: Path
    seed: int = 0
    """Of the folds, and of whatever is drawn while learning."""


def recipe_of(bench: Bench, name: str, fold: int) -> Any:
    """Return a recipe of ours that judges one fold."""
    from wsi_vit.recipe import load_recipe

    recipe = load_recipe(name).reading(bench.data)
    if recipe.model.start.kind != "config":
        recipe = recipe.starting_from(bench.start)
    split = recipe.split.model_copy(update={"fold": fold, "seed": bench.seed})
    training = recipe.training.model_copy(update={"seed": bench.seed})
    return recipe.model_copy(update={"split": split, "training": training})


def dataset_of(bench: Bench, name: str, fold: int) -> Any:
    """Return the dataset of one fold, opened."""
    from wsi_vit import pipeline
    from wsi_vit.datasets.reading import open_dataset
    from wsi_vit.settings import Settings

    built = pipeline.build(recipe_of(bench, name, fold), [], settings=Settings(runs=bench.runs))
    return open_dataset(built.folder)


def ours(bench: Bench, name: str, fold: int) -> Rows:
    """Train our recipe on one fold and judge its test images."""
    return trained(bench, recipe_of(bench, name, fold))


def without(bench: Bench, name: str, fold: int, *, part: str) -> Rows:
    """Train and judge our recipe on one fold, with one part of it left out."""
    from wsi_vit.datasets.augmentation.section import Augmentation

    recipe = recipe_of(bench, name, fold)
    training, plain_rate = recipe.training, recipe.training.backbone_rate
    changed: dict[str, dict[str, Any]] = {
        "augmentation": {"augmentation": Augmentation(preset="none")},
        "layer_rates": {
            "training": training.model_copy(
                update={"layer_decay": 1.0, "learning_rate": plain_rate, "backbone_rate": None}
            )
        },
        "ema": {"training": training.model_copy(update={"ema": None})},
        "averaging": {"prediction": recipe.prediction.model_copy(update={"average": "none"})},
    }
    return trained(bench, recipe.model_copy(update=changed[part]))


def trained(bench: Bench, recipe: Any) -> Rows:
    """Train a recipe as `wsi-vit run` does, and judge its test images as it would be applied."""
    from wsi_vit import pipeline
    from wsi_vit.datasets.reading import open_dataset
    from wsi_vit.models.averaging import averaged
    from wsi_vit.models.load import load_model
    from wsi_vit.settings import Settings

    settings = Settings(runs=bench.runs)
    data = open_dataset(pipeline.build(recipe, [], settings=settings).folder)
    run = pipeline.train(recipe, data.folder, settings=settings).run
    pipeline.evaluate(run, settings=settings)
    model = load_model(run / "model").eval()
    return judged(data, averaged(model, recipe.prediction.average).scores)


def plain(bench: Bench, name: str, fold: int, *, rate: float) -> Rows:
    """Fine-tune the same weights as anybody would: no augmentation but flips, the last epoch."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import AutoModel

    from wsi_vit.training.precision import forward_context

    assert bench.start
    data = dataset_of(bench, name, fold)
    torch.manual_seed(bench.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    body = AutoModel.from_pretrained(bench.start).to(device)
    head = torch.nn.Linear(body.config.hidden_size, len(data.labels)).to(device)
    parameters = [*body.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate)
    train, batch = data.examples("train"), 16
    steps = EPOCHS * -(-len(train) // batch)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)

    def logits(images: Any) -> Any:
        with forward_context("bf16", device):
            return head(body(normalised(images).to(device)).last_hidden_state[:, 0]).float()

    body.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(train)).tolist()
        for first in range(0, len(train), batch):
            examples = train.__getitems__(order[first : first + batch])
            images = as_tensor([example.image for example in examples])
            images = images.flip(3) if torch.rand(()) < 0.5 else images
            targets = torch.tensor([int(example.target) for example in examples])
            optimiser.zero_grad()
            cross_entropy(logits(images), targets.to(device)).backward()
            optimiser.step()
            falling.step()
    body.eval()
    return judged(data, lambda images: logits(images).softmax(1).cpu())


Method = Callable[[Bench, str, int], Rows]
"""Learns one fold with what a recipe says, by its name, and judges its test images."""

PLAIN = ("plain_5e-5", "plain_2e-5")
PARTS = ("augmentation", "layer_rates", "ema", "averaging")
METHODS: dict[str, Method] = {
    "ours": ours,
    "plain_5e-5": partial(plain, rate=5e-5),
    "plain_2e-5": partial(plain, rate=2e-5),
    **{f"without_{part}": partial(without, part=part) for part in PARTS},
}


def kept(methods: Mapping[str, Method], bench: Bench, job: tuple[str, str, int]) -> Rows:
    """Run one fold of one method in this process, one thread, or read what was kept of it."""
    import torch

    method, name, fold = job
    short = Path(name).stem
    path = bench.runs / "folds" / f"{method}-{short}-{fold}-seed{bench.seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    torch.set_num_threads(1)
    began = time.perf_counter()
    rows = methods[method](bench, name, fold)
    print(
        f"{method} {short} seed {bench.seed} fold {fold}: {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return rows


def counted_over_folds(
    methods: Mapping[str, Method],
    bench: Bench,
    wanted: Sequence[tuple[str, str]],
    *,
    folds: int,
    jobs: int,
) -> dict[tuple[str, str], Counts]:
    """Run folds of pairs of a method and a recipe, some at a time; return counts a case of each."""
    planned = [(*pair, fold) for pair in wanted for fold in range(folds)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        done = dict(zip(planned, pool.map(partial(kept, methods, bench), planned), strict=True))
    return {
        pair: by_case([row for fold in range(folds) for row in done[(*pair, fold)]])
        for pair in wanted
    }


def all_foreground(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts of a mask that calls everything gland."""
    painted = np.zeros_like(table)
    painted[..., 1] = table.sum(axis=-1)
    return painted


def classified(
    bench: Bench, name: str, methods: Sequence[str], *, seeds: int, folds: int, jobs: int
) -> dict[str, Counts]:
    """Return each method's counts a case of one recipe, summed over seeds."""
    found: dict[str, Counts] = {}
    for seed in range(seeds):
        wanted = [(method, name) for method in methods]
        seeded = replace(bench, seed=seed)
        tables = counted_over_folds(METHODS, seeded, wanted, folds=folds, jobs=jobs)
        for (method, _), table in tables.items():
            found[method] = found[method] + table if method in found else table
    return found


def compared(tables: Mapping[str, Counts]) -> dict[str, Any]:
    """Return each method's scores, and what ours gains over each of the others."""
    from wsi_vit.metrics import accuracy, balanced_accuracy

    result: dict[str, Any] = {"cases": len(tables["ours"])}
    scores = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
    for method, name in product(tables, scores):
        result[f"{method}_{name}"] = interval(scores[name], tables[method])
        if method != "ours":
            result[f"{name}_over_{method}"] = interval(scores[name], tables["ours"], tables[method])
    return result


def segmented(bench: Bench, *, folds: int, jobs: int) -> dict[str, Any]:
    """Return the gland IoU of our recipe, beside the mask that is all foreground."""
    ours = ("ours", "ebhi_segmentation")
    mine = counted_over_folds(METHODS, bench, [ours], folds=folds, jobs=jobs)[ours]
    return {
        "cases": len(mine),
        "iou": interval(iou_of(1), mine),
        "all_foreground_iou": interval(iou_of(1), all_foreground(mine)),
        "iou_gain": interval(iou_of(1), mine, all_foreground(mine)),
    }


def classification(bench: Bench, name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Return what ours and the plain ways come to, and what each part of ours gives."""
    how = {"folds": 1 if asked.quick else FOLDS, "jobs": asked.jobs}
    found = compared(classified(bench, name, ["ours", *PLAIN], seeds=asked.seeds, **how))
    if asked.parts:
        ways = ["ours", *(f"without_{part}" for part in PARTS)]
        found["parts"] = compared(classified(bench, name, ways, seeds=1, **how))
    return {**found, "folds": how["folds"], "seeds": asked.seeds}


def fold_options(parser: argparse.ArgumentParser, *, runs: str) -> argparse.ArgumentParser:
    """Add what every comparison over folds is asked for."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--runs", type=Path, default=Path(runs))
    parser.add_argument("--seeds", type=int, default=1, help="repetitions of the classification")
    parser.add_argument("--parts", action="store_true", help="each part of ours left out as well")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser


def bench_of(asked: argparse.Namespace) -> Bench:
    """Return where things lie, as it was asked."""
    return Bench(asked.data.resolve(), asked.start and asked.start.resolve(), asked.runs)


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = fold_options(options(__doc__, quick="the first fold only"), runs=RUNS)
    parser.add_argument("--task", choices=["classification", "segmentation"])
    asked = parser.parse_args()
    bench, figures = bench_of(asked), dict[str, Any]()
    if asked.task != "segmentation":
        figures |= classification(bench, "ebhi_classification", asked)
    if asked.task != "classification":
        folds = 1 if asked.quick else FOLDS
        figures |= segmented(bench, folds=folds, jobs=asked.jobs) | {"folds": folds}
    tell("ebhi", figures, asked, kept_as=f"ebhi_{asked.task}" if asked.task else None)


if __name__ == "__main__":
    main()
