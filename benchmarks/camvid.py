"""CamVid by whole sequences: quick recipes beside a plain per-patch head on the same weights.

    python -m benchmarks.camvid --data DIR --start DIR [--split NAME] [--kind KIND]
                                [--quick] [--json]

`--data` is CamVid in SegNet's layout, `--start` a folder of DINOv2 weights. Trained on sequence
0006R0 and judged on 0016E5, and the other way round: what a street teaches about another. Two
splits have frames of one sequence on both sides, and are reported apart, as what they are: runs of
five frames that are left out of both sequences, and the folders' own split, where our recipes
moreover choose their epoch on the frames they are judged on. The classes are those of
`sidewalk_4`; IoU counts background pixels, its mean leaves the background class out; `every_pixel`
is what calling every pixel a class would get for it. Intervals are from a paired bootstrap over
runs of five frames. Recipes: benchmarks/recipes/camvid_*.yaml; on splits of more frames they get
fewer epochs, so that each takes as many steps.
`--quick` judges one direction and skips `maskformer`; `--split` judges one split, and `--kind` one
kind beside the head: what they find is kept apart. Finished parts are kept in `--runs`.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.paired import Counts, by_case, interval, iou_of, judged
from benchmarks.patch_head import learn_head
from benchmarks.telling import options, tell

RECIPES = Path(__file__).parent / "recipes"
SPLITS: dict[str, dict[str, Any]] = {
    "unseen 0016E5": {"kind": "sites", "test": ["0016E5"], "validation": 0.2},
    "unseen 0006R0": {"kind": "sites", "test": ["0006R0"], "validation": 0.2},
    "unseen runs": {"kind": "patients", "test": 0.4, "validation": 0.15, "sites": "balance"},
    "folders' own split": {"kind": "cohort"},
}

FEWEST_FRAMES = 18
"""Training frames of the first split."""


def recipe_of(kind: str, split: str, data: Path, start: Path) -> Any:
    """Return a quick recipe with one of the splits."""
    from pydantic import TypeAdapter

    from wsi_vit.datasets.splits import AnySplit
    from wsi_vit.recipe import load_recipe

    recipe = load_recipe(RECIPES / f"camvid_{kind}.yaml").reading(data)
    recipe = recipe.starting_from(start) if kind == "eomt" else recipe
    return recipe.model_copy(update={"split": TypeAdapter(AnySplit).validate_python(SPLITS[split])})


def of_equal_length(recipe: Any, frames: int) -> Any:
    """Return a recipe that takes as many steps on so many frames as on the first split's 18."""
    epochs = max(1, round(recipe.training.epochs * FEWEST_FRAMES / frames))
    training = recipe.training.model_copy(update={"epochs": epochs})
    return recipe.model_copy(update={"training": training})


def judge(kind: str, split: str, data: Path, start: Path, runs: Path) -> dict[str, Any]:
    """Train one kind on one split; return the judged frames' counts and its seconds."""
    kept = runs / "parts" / f"{kind}-{split.replace(' ', '-')}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    from wsi_vit import pipeline
    from wsi_vit.datasets.reading import open_dataset
    from wsi_vit.models.load import load_model
    from wsi_vit.settings import Settings

    settings = Settings(runs=runs)
    recipe = recipe_of("eomt" if kind == "head" else kind, split, data, start)
    opened = open_dataset(pipeline.build(recipe, [], settings=settings).folder)
    began = time.perf_counter()
    if kind == "head":
        scores = learn_head(start, opened, input_px=recipe.model.input_px)
        trained_s = time.perf_counter() - began
    else:
        recipe = of_equal_length(recipe, len(opened.examples("train")))
        run = pipeline.train(recipe, opened.folder, settings=settings).run
        trained_s = time.perf_counter() - began
        scores = load_model(run / "model").eval().scores
    judging = "validation" if SPLITS[split]["kind"] == "cohort" else "test"
    part = {"rows": judged(opened, scores, split=judging), "train_s": round(trained_s, 1)}
    part["names"] = list(opened.labels.names)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(part))
    return part


def mean_of_classes(counts: Counts) -> Any:
    """Return the mean IoU over all classes but the background, which is the first."""
    from wsi_vit.metrics import mean_iou

    return mean_iou(counts, 0)


def painted(class_id: int) -> Callable[[Counts], Any]:
    """Return the metric that is the IoU of whoever calls every pixel this class."""
    return lambda counts: counts[..., class_id, :].sum(axis=-1) / counts.sum(axis=(-2, -1))


def over_painted(class_id: int) -> Callable[[Counts], Any]:
    """Return the metric that is how much more IoU a class has than that."""
    return lambda counts: iou_of(class_id)(counts) - painted(class_id)(counts)


def compare(split: str, kinds: list[str], train: Callable[[str, str], Any]) -> dict[str, Any]:
    """Return each kind's IoU a class, and what each gains over the head."""
    parts = {kind: train(kind, split) for kind in kinds}
    tables = {kind: by_case(part["rows"]) for kind, part in parts.items()}
    classes = list(enumerate(parts["head"]["names"]))[1:]
    found: dict[str, Any] = {
        "runs_of_frames": len(tables["head"]),
        "every_pixel": {name: interval(painted(i), tables["head"]) for i, name in classes},
    }
    for kind, table in tables.items():
        found[kind] = {
            "mean_iou": interval(mean_of_classes, table),
            **{name: interval(iou_of(i), table) for i, name in classes},
            "gain_over_head": interval(mean_of_classes, table, tables["head"]),
            "over_every_pixel": {name: interval(over_painted(i), table) for i, name in classes},
            "train_s": parts[kind]["train_s"],
        }
    return found


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = options(__doc__, quick="one direction, no maskformer")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/camvid"))
    parser.add_argument("--kind", choices=["eomt", "maskformer"], help="the other is left out")
    parser.add_argument("--split", choices=list(SPLITS), help="the others are left out")
    asked = parser.parse_args()
    splits = [asked.split] if asked.split else list(SPLITS)[: 1 if asked.quick else None]
    quick = ["eomt"] if asked.quick else ["eomt", "maskformer"]
    kinds = ["head", *([asked.kind] if asked.kind else quick)]
    data, start = asked.data.resolve(), asked.start.resolve()

    def train(kind: str, split: str) -> dict[str, Any]:
        return judge(kind, split, data, start, asked.runs)

    found = {split: compare(split, kinds, train) for split in splits}
    for split in splits:
        for kind in kinds:
            untold = ("train_s", "over_every_pixel")
            scores = {k: v for k, v in found[split][kind].items() if k not in untold}
            told = "  ".join(f"{k} {v['value']:.3f}" for k, v in scores.items())
            print(f"{split:<20} {kind:<11} {told}  {found[split][kind]['train_s']:.0f} s")
    apart = "_".join(filter(None, ["camvid", asked.kind, asked.split])).replace(" ", "_")
    tell("camvid", found, asked, kept_as=apart)


if __name__ == "__main__":
    main()
