"""compare-token-learner: a recipe with and without its TokenLearner, several seeds of each.

The runs are trained one after the other, since they are compared by what a step costs, too. A run
that is there is not trained again, so a flow that was ended goes on where it was.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.artifacts import show_pictures, show_result, show_table
from flows.parameters import CompareParameters
from flows.progress import progress_of
from flows.retries import AGAIN
from flows.stages import build_dataset, options_of, tile_cohort
from wsi_vit import pipeline
from wsi_vit.evaluation.token_learner.words import side_rows
from wsi_vit.pipeline import SIDES, ComparisonOutcome, SideName, Trained
from wsi_vit.settings import Settings


@task(cache_policy=NO_CACHE)
def train_side(parameters: CompareParameters, dataset: Path, side: SideName, seed: int) -> Trained:
    """Train one side with one seed, in a supervised process of its own."""
    recipe = pipeline.side_of(parameters.resolved(), side, seed)
    progress = progress_of(f"{side}, seed {seed}")
    return pipeline.train_supervised(recipe, dataset, settings=Settings(), progress=progress)


@task(**AGAIN)
def judge(
    parameters: CompareParameters, dataset: Path, runs: Mapping[SideName, Sequence[Path]]
) -> ComparisonOutcome:
    """Score every run, measure a step of each side, test the difference."""
    recipe, progress = parameters.resolved(), progress_of("comparison")
    return pipeline.judge_token_learner(
        recipe, dataset, runs, settings=Settings(), progress=progress
    )


@flow(name="compare-token-learner", **options_of("compare"))
def compare_token_learner(parameters: CompareParameters) -> State[Any]:
    """Say what TokenLearner saves, and what it costs in accuracy."""
    outcomes = tile_cohort(parameters)
    dataset = build_dataset(parameters, outcomes)
    runs: dict[SideName, list[Path]] = {side: [] for side in SIDES}
    for seed in range(parameters.seeds):
        for side, found in runs.items():
            named = train_side.with_options(task_run_name=f"train {side}, seed {seed}")
            found.append(named(parameters, dataset.folder, side, seed).run)
    done = judge(parameters, dataset.folder, runs)
    key = f"{parameters.recipe_name} comparison"
    show_result(done.sentence, done.page, run_key=key)
    show_pictures([done.chart], run_key=key)
    show_table(
        [dict(row) for row in side_rows(done.comparison)],
        key=key,
        title="Each side, over its seeds",
    )
    result = {"folder": str(done.folder), "sentence": done.sentence, "reused": done.reused}
    return Completed(message=f"{done.sentence} {done.page}", data=result)
