"""Glands of EBHI-Seg, case-disjoint five-fold: Segmenter beside a plain linear head.

    python -m benchmarks.glands --data DIR --start DIR [--quick] [--json]

`--data` is EBHI-Seg (or the 269 images of it that come with the project's test data), `--start` a
folder of ViT weights. The plain head is a linear layer on the patch tokens of the frozen ViT
(benchmarks/patch_head.py); Segmenter fine-tunes the same weights, with a linear decoder and with a
mask transformer (benchmarks/recipes/ebhi_segmenter_*.yaml). All see the same training images at the
same size, in the same precision, one view an image. Every image is in one test fold; intervals are
from a paired bootstrap over cases. `--quick` runs the first fold, two epochs of it: it shows that
all of this works, and no figure of it means anything. Finished folds are kept in `--runs`.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.ebhi import (
    FOLDS,
    Bench,
    Method,
    all_foreground,
    counted_over_folds,
    dataset_of,
    recipe_of,
    trained,
)
from benchmarks.paired import SEED, Counts, Rows, interval, iou_of, judged
from benchmarks.patch_head import learn_head
from benchmarks.telling import options, tell

RECIPES = Path(__file__).parent / "recipes"
LINEAR, MASKS = (
    str(RECIPES / f"ebhi_segmenter_{name}.yaml") for name in ("linear", "mask_transformer")
)
QUICK_EPOCHS = 2


def head(bench: Bench, name: str, fold: int) -> Rows:
    """Learn a linear layer on the frozen ViT's patch tokens, at the recipe's size."""
    assert bench.start
    data = dataset_of(bench, name, fold)
    input_px = recipe_of(bench, name, fold).model.input_px
    return judged(data, learn_head(bench.start, data, input_px=input_px))


def segmenter(bench: Bench, name: str, fold: int, *, epochs: int | None = None) -> Rows:
    """Train a recipe on one fold; `epochs` other than the recipe's for a trial."""
    recipe = recipe_of(bench, name, fold)
    if epochs is not None:
        update = {"training": recipe.training.model_copy(update={"epochs": epochs})}
        recipe = recipe.model_copy(update=update)
    return trained(bench, recipe)


def figures(tables: Mapping[tuple[str, str], Counts]) -> dict[str, Any]:
    """Return gland IoU of every way, and what Segmenter gains over the head."""
    plain = tables["head", LINEAR]
    linear, masks = tables["segmenter", LINEAR], tables["segmenter", MASKS]
    gland = iou_of(1)
    return {
        "cases": len(plain),
        "all_foreground_iou": interval(gland, all_foreground(plain)),
        "head_iou": interval(gland, plain),
        "linear_iou": interval(gland, linear),
        "mask_transformer_iou": interval(gland, masks),
        "linear_over_head": interval(gland, linear, plain),
        "mask_transformer_over_head": interval(gland, masks, plain),
        "mask_transformer_over_linear": interval(gland, masks, linear),
    }


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = options(__doc__, quick="the first fold, two epochs")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/glands"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    runs = asked.runs / "quick" if asked.quick else asked.runs
    bench = Bench(asked.data.resolve(), asked.start.resolve(), runs)
    ours = partial(segmenter, epochs=QUICK_EPOCHS if asked.quick else None)
    methods: dict[str, Method] = {"head": head, "segmenter": ours}
    wanted = [("head", LINEAR), ("segmenter", LINEAR), ("segmenter", MASKS)]
    folds = 1 if asked.quick else FOLDS
    tables = counted_over_folds(methods, bench, wanted, folds=folds, jobs=asked.jobs)
    tell("glands", {**figures(tables), "folds": folds, "seed": SEED}, asked)


if __name__ == "__main__":
    main()
