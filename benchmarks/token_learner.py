"""A recipe with and without its TokenLearner: accuracy over seeds, speed, memory, a paired test.

    python -m benchmarks.token_learner [--quick] [--json] [--recipe NAME] [--data DIR] [--start DIR]

It is `wsi-vit compare RECIPE --seeds 5`. `token_learner_digits`, which is measured unless another
is named, needs neither data nor weights: scikit-learn's digits, minutes on one core. `--quick` has
a sixth of them, two seeds and two epochs: the same keys, and no accuracy worth a look. Runs lie in
`--runs`; what is there is not trained again.

- `difference`: accuracy with less accuracy without, on `test_images` of `test_units`, mean over
  seeds, with the 95 % interval of a bootstrap over seeds and test units; goal: `difference_lower`
  > -0.02 (`holds`).
- `speed_up`: training steps a second with over those without, median of interleaved rounds.
- `accuracy`, `accuracies`, `steps_per_s`, `gflops`, `peak_mib`: without, with.
"""

from pathlib import Path
from typing import Any

from benchmarks.telling import options, tell

SEEDS = 5


def compared(recipe: Any, *, seeds: int, runs: Path) -> dict[str, Any]:
    """Train both sides where that was not done, and return the figures."""
    from wsi_vit import pipeline
    from wsi_vit.settings import Settings

    done = pipeline.compare_token_learner(recipe, seeds=seeds, settings=Settings(runs=runs))
    found = done.comparison
    sides = (found.without, found.learner)
    return {
        "recipe": found.recipe,
        "difference": found.difference.value,
        "difference_lower": found.difference.low,
        "difference_upper": found.difference.high,
        "holds": found.holds,
        "test_images": found.examples,
        "test_units": f"{found.units} {found.unit}",
        "seeds": len(found.seeds),
        "speed_up": found.speed_up.value,
        "speed_up_lower": found.speed_up.low,
        "accuracy": [side.accuracy.value for side in sides],
        "accuracies": [list(side.accuracies) for side in sides],
        "steps_per_s": [side.steps_per_s.value for side in sides],
        "gflops": [side.gflops for side in sides],
        "peak_mib": [side.peak_mib for side in sides],
        "step_images": found.step_images,
        "device": found.device,
    }


def shortened(recipe: Any) -> Any:
    """Return a recipe that is done in seconds."""
    return recipe.model_copy(
        update={
            "source": recipe.source.model_copy(update={"rows": 300}),
            "training": recipe.training.model_copy(update={"epochs": 2}),
        }
    )


def main() -> None:
    """Compare, print, and keep the result of a full run."""
    from wsi_vit.recipe import load_recipe

    parser = options(__doc__, quick="few digits, two seeds, two epochs: the same keys in a minute")
    parser.add_argument("--recipe", default="token_learner_digits")
    parser.add_argument("--data", type=Path, help="the recipe's own if absent")
    parser.add_argument("--start", type=Path, help="folder of weights; the recipe's own if absent")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"))
    asked = parser.parse_args()
    recipe = load_recipe(asked.recipe).reading(asked.data).starting_from(asked.start)
    if asked.quick:
        figures = compared(shortened(recipe), seeds=2, runs=asked.runs)
    else:
        figures = compared(recipe, seeds=SEEDS, runs=asked.runs)
    tell("token_learner", figures, asked, also="see `device`", kept_as=asked.recipe)


if __name__ == "__main__":
    main()
