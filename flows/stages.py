"""The stages of every training flow, and their order: data -> model -> evaluation -> registry.

A slide that cannot be used is quarantined and named; the others go on. Tasks hold a batch of slides
at most, never a tile, and hand on paths and small records.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.artifacts import show_evaluation, show_pictures, show_slides
from flows.parameters import RecipeParameters, TrainingParameters
from flows.progress import progress_of
from flows.retries import AGAIN
from wsi_vit import pipeline
from wsi_vit.cohort import CohortRow
from wsi_vit.evaluation.words import headline_sentence
from wsi_vit.pipeline import ModelOutcome, Promotion, SlideOutcome, Trained
from wsi_vit.settings import Settings
from wsi_vit.store import Artefact

MAX_TASKS = 500
"""Prefect's server digests some tens of task runs a second: a large cohort goes in batches."""


def options_of(verb: str) -> dict[str, Any]:
    """Return the options of a flow that does this with a recipe."""
    return {
        "flow_run_name": f"{verb} {{parameters.recipe_name}}",
        "task_runner": ThreadPoolTaskRunner(max_workers=Settings().workers),
    }


TRAINING = options_of("train")
"""Options of every flow that ends in the registry."""


@task(**AGAIN)
def tile_slides(parameters: RecipeParameters, rows: list[CohortRow]) -> list[SlideOutcome]:
    """Cut a batch of slides into tiles and label them."""
    recipe, settings = parameters.resolved(), Settings()
    return [pipeline.tile_row(row, recipe=recipe, settings=settings) for row in rows]


@task(**AGAIN)
def build_dataset(parameters: RecipeParameters, outcomes: list[SlideOutcome]) -> Artefact:
    """Join the tiled slides, or read the folder of images, into one dataset."""
    return pipeline.build(parameters.resolved(), outcomes, settings=Settings())


@task(cache_policy=NO_CACHE)
def train(parameters: RecipeParameters, dataset: Path) -> Trained:
    """Fine-tune in a supervised process of its own; a cancelled run leaves a checkpoint."""
    return pipeline.train_supervised(
        parameters.resolved(), dataset, settings=Settings(), progress=progress_of("training")
    )


@task(**AGAIN)
def evaluate(run: Path) -> str:
    """Score the model on the frozen test split, write the report; return its first sentence."""
    progress = progress_of("evaluation")
    return headline_sentence(pipeline.evaluate(run, settings=Settings(), progress=progress))


@task(**AGAIN)
def register(run: Path, promotion: Promotion) -> ModelOutcome:
    """Bring the run into MLflow, register its model, and promote it if it is better."""
    return pipeline.register(run, promotion=promotion, settings=Settings())


def train_and_register(parameters: TrainingParameters) -> State[Any]:
    """Take data to a registered, reproducible model: what every training flow does."""
    outcomes = tile_cohort(parameters)
    dataset = build_dataset(parameters, outcomes)
    trained = train(parameters, dataset.folder)
    sentence = evaluate(trained.run)
    model = register(trained.run, parameters.promotion)
    show_evaluation(trained.run, model)
    lost = [item.slide_id for item in outcomes if item.state == "quarantined"]
    result = {
        "run": str(trained.run),
        "sentence": sentence,
        "model": model.model_dump(mode="json"),
        "quarantined": lost,
        "reused": _reused(outcomes, dataset, trained),
    }
    return Completed(message=f"{sentence} {model.spoken()}{lost_in_words(lost)}", data=result)


def lost_in_words(lost: Sequence[str]) -> str:
    """Return what a run's message ends with; who follows it is told by this of slides lost."""
    return f"; {len(lost)} quarantined: {', '.join(lost[:20])}" if lost else ""


def _reused(outcomes: Sequence[SlideOutcome], dataset: Artefact, trained: Trained) -> list[str]:
    """Name the stages that had nothing to do."""
    tiled = [item for item in outcomes if item.state == "reused"]
    parts = {
        f"tiles of {len(tiled)} slides": bool(tiled),
        "dataset": dataset.reused,
        "model and report": trained.reused,
    }
    return [name for name, reused in parts.items() if reused]


def tile_cohort(parameters: RecipeParameters) -> list[SlideOutcome]:
    """Tile every slide of a cohort side by side; an image recipe has none."""
    recipe = parameters.resolved()
    if recipe.source.kind != "cohort":
        return []
    rows = pipeline.cohort_of(recipe).rows
    futures = [
        tile_slides.with_options(task_run_name=f"tile {_span(batch)}").submit(parameters, batch)
        for batch in _batches(rows)
    ]
    wait(futures)
    outcomes = [outcome for future in futures for outcome in future.result()]
    show_slides(outcomes, key=recipe.name)
    sheets = pipeline.tiled_quality(recipe, outcomes, settings=Settings()).sheets
    show_pictures(sheets, run_key=recipe.name)
    return outcomes


def _batches(rows: Sequence[CohortRow]) -> list[list[CohortRow]]:
    size = -(-len(rows) // MAX_TASKS)
    return [list(rows[start : start + size]) for start in range(0, len(rows), size or 1)]


def _span(rows: Sequence[CohortRow]) -> str:
    return rows[0].slide_id if len(rows) == 1 else f"{rows[0].slide_id} to {rows[-1].slide_id}"
