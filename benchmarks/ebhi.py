"""EBHI-Seg, case-disjoint five-fold: our recipes beside a plain fine-tune, in one run.

    python -m benchmarks.ebhi --data DIR --start DIR [--task classification] [--quick] [--json]

`--data` is EBHI-Seg (or the 269 images of it that come with the project's test data), `--start` a
folder of ViT weights. Classification: recipe `ebhi_classification` against twelve plain epochs
(AdamW falling linearly from 5e-5, and again from 2e-5; flips; a linear head on the class token) of
the same weights, on the same training images, in the same precision, at 224 px. Segmentation:
recipe `ebhi_segmentation` against the mask that is all foreground. Every image is in one test fold;
intervals are from a paired bootstrap over cases. `--quick` runs the first fold only. Finished folds
are kept in `--runs` and not run again.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.paired import SEED, Counts, Rows, as_tensor, by_case, interval, iou_of, judged
from benchmarks.telling import options, tell

FOLDS, EPOCHS = 5, 12


@dataclass(frozen=True)
class Bench:
    """Where things lie."""

    data: Path
    start: Path | None
    runs: Path


def recipe_of(bench: Bench, name: str, fold: int) -> Any:
    """Return a recipe of ours that judges one fold."""
    from wsi_vit.recipe import load_recipe

    recipe = load_recipe(name).reading(bench.data)
    if recipe.model.start.kind != "config":
        recipe = recipe.starting_from(bench.start)
    return recipe.model_copy(update={"split": recipe.split.model_copy(update={"fold": fold})})


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
    torch.manual_seed(SEED)
    body = AutoModel.from_pretrained(bench.start)
    head = torch.nn.Linear(body.config.hidden_size, len(data.labels))
    parameters = [*body.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=rate)
    train, batch = data.examples("train"), 16
    steps = EPOCHS * -(-len(train) // batch)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)

    def logits(images: Any) -> Any:
        with forward_context("bf16", torch.device("cpu")):
            features = body((images.float() / 255 - mean) / std).last_hidden_state[:, 0]
            return head(features).float()

    body.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(train)).tolist()
        for first in range(0, len(train), batch):
            examples = train.__getitems__(order[first : first + batch])
            images = as_tensor([example.image for example in examples])
            images = images.flip(3) if torch.rand(()) < 0.5 else images
            targets = torch.tensor([int(example.target) for example in examples])
            optimiser.zero_grad()
            cross_entropy(logits(images), targets).backward()
            optimiser.step()
            falling.step()
    body.eval()
    return judged(data, lambda images: logits(images).softmax(1))


Method = Callable[[Bench, str, int], Rows]
"""Learns one fold with what a recipe says, by its name, and judges its test images."""

METHODS: dict[str, Method] = {
    "ours": ours,
    "plain_5e-5": partial(plain, rate=5e-5),
    "plain_2e-5": partial(plain, rate=2e-5),
}


def kept(methods: Mapping[str, Method], bench: Bench, job: tuple[str, str, int]) -> Rows:
    """Run one fold of one method in this process, one thread, or read what was kept of it."""
    import torch

    method, name, fold = job
    short = Path(name).stem
    path = bench.runs / "folds" / f"{method}-{short}-{fold}.json"
    if path.exists():
        return json.loads(path.read_text())
    torch.set_num_threads(1)
    began = time.perf_counter()
    rows = methods[method](bench, name, fold)
    print(f"{method} {short} fold {fold}: {time.perf_counter() - began:.0f} s", flush=True)
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


def measure(bench: Bench, tasks: Sequence[str], *, folds: int, jobs: int) -> dict[str, Any]:
    """Run all folds, two at a time, and put the figures together."""
    from wsi_vit.metrics import accuracy, balanced_accuracy

    methods = [("ours", f"ebhi_{task}") for task in tasks]
    if "classification" in tasks:
        methods += [(method, "ebhi_classification") for method in METHODS if method != "ours"]
    tables = counted_over_folds(METHODS, bench, methods, folds=folds, jobs=jobs)
    result: dict[str, Any] = {"cases": len(next(iter(tables.values())))}
    if "classification" in tasks:
        scores = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
        for method, name in product(METHODS, scores):
            table, mine = (tables[m, "ebhi_classification"] for m in (method, "ours"))
            result[f"{method}_{name}"] = interval(scores[name], table)
            if method != "ours":
                result[f"{name}_over_{method}"] = interval(scores[name], mine, table)
    if "segmentation" in tasks:
        mine = tables["ours", "ebhi_segmentation"]
        result["iou"] = interval(iou_of(1), mine)
        result["all_foreground_iou"] = interval(iou_of(1), all_foreground(mine))
        result["iou_gain"] = interval(iou_of(1), mine, all_foreground(mine))
    return result


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = options(__doc__, quick="the first fold only")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/ebhi"))
    parser.add_argument("--task", choices=["classification", "segmentation"])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    tasks = [asked.task] if asked.task else ["classification", "segmentation"]
    bench = Bench(asked.data.resolve(), asked.start and asked.start.resolve(), asked.runs)
    folds = 1 if asked.quick else FOLDS
    found = measure(bench, tasks, folds=folds, jobs=asked.jobs)
    figures = {**found, "folds": folds, "seed": SEED}
    tell("ebhi", figures, asked, kept_as=f"ebhi_{asked.task}" if asked.task else None)


if __name__ == "__main__":
    main()
