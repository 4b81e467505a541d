"""Cracks on unseen photos: the quick recipe beside Canny's edges and beside "there is none".

    python -m benchmarks.cracks --data DIR [--quick] [--json]

`--data` holds `cfd/` (image/*.jpg, groundTruth/*.mat) and `deepcrack/` (img/*.jpg, lab/*.png), as
these sets are published. Each is split by photo; Canny's numbers are chosen on the training images.
Intervals are from a paired bootstrap over photos. `--quick` runs DeepCrack only.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.canny import tuned
from benchmarks.paired import by_case, counted, interval, iou_of, judged
from benchmarks.telling import options, tell

RECIPES = Path(__file__).parent / "recipes"
_TUNED_ON = 12
"""Training images that Canny's numbers are chosen on: 27 settings are tried on each."""


def measure(name: str, data: Path, runs: Path) -> dict[str, Any]:
    """Train on one set and judge both ways on its test photos."""
    from wsi_vit import pipeline
    from wsi_vit.datasets.reading import open_dataset
    from wsi_vit.models.load import load_model
    from wsi_vit.recipe import load_recipe
    from wsi_vit.settings import Settings

    settings = Settings(runs=runs)
    recipe = load_recipe(RECIPES / f"crack_{name}.yaml").reading(data / name)
    opened = open_dataset(pipeline.build(recipe, [], settings=settings).folder)
    began = time.perf_counter()
    run = pipeline.train(recipe, opened.folder, settings=settings).run
    trained_s = time.perf_counter() - began
    pipeline.evaluate(run, settings=settings)
    mine = by_case(judged(opened, load_model(run / "model").eval().scores))
    train, test = opened.examples("train"), opened.examples("test")
    few = np.linspace(0, len(train) - 1, min(len(train), _TUNED_ON)).astype(int).tolist()
    canny = tuned(train.__getitems__(few))
    edges = by_case([counted(e, canny(e.image), 2) for e in test.__getitems__(range(len(test)))])
    return {
        "iou": interval(iou_of(1), mine),
        "canny_iou": interval(iou_of(1), edges),
        "gain_over_canny": interval(iou_of(1), mine, edges),
        "all_background_iou": 0.0,
        "canny": str(canny),
        "train_images": len(train),
        "test_images": len(test),
        "photos": len(mine),
        "train_s": round(trained_s, 1),
    }


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = options(__doc__, quick="DeepCrack only")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/cracks"))
    asked = parser.parse_args()
    names = ["deepcrack"] if asked.quick else ["deepcrack", "cfd"]
    data = asked.data.resolve()
    tell("cracks", {name: measure(name, data, asked.runs) for name in names}, asked)


if __name__ == "__main__":
    main()
