"""From a dataset to a model and its report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from wsi_vit import console
from wsi_vit.cli.verbs import Data, Json, RecipeName, Start, app, exit_on_lost
from wsi_vit.settings import Settings


@app.command()
def train(
    recipe: RecipeName,
    cohort: Data = None,
    start: Start = None,
    dataset: Annotated[Path | None, typer.Option(help="A dataset that is built already.")] = None,
) -> None:
    """Fine-tune a recipe's model; a run that was interrupted goes on exactly where it stopped.

    Example: wsi-vit train wsi_segmentation --cohort cohort.csv
    """
    from wsi_vit import pipeline
    from wsi_vit.recipe import load_recipe

    resolved = load_recipe(recipe).reading(cohort).starting_from(start)
    settings = Settings()
    with console.progress_bars() as progress:
        folder = dataset or _built(resolved, settings, progress)
        run = pipeline.train(resolved, folder, settings=settings, progress=progress).run
    _say_time(run)
    console.say(f"[bold]{run}[/bold]\nNext: wsi-vit evaluate {run}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder, or a model folder with DATASET.")],
    dataset: Annotated[
        Path | None, typer.Argument(help="A dataset folder; the run's own if absent.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a model on the frozen test split: intervals, pictures, report.

    Example: wsi-vit evaluate runs/wsi_segmentation/0123456789abcdef
    """
    from wsi_vit import pipeline
    from wsi_vit.evaluation.words import definition_rows, definition_sentences, headline_sentence

    with console.progress_bars() as progress:
        if dataset is None:
            result = pipeline.evaluate(model, settings=Settings(), progress=progress)
        else:
            result = pipeline.evaluate_on(model, dataset, settings=Settings(), progress=progress)
    if as_json:
        console.print_json(result)
    else:
        console.say(headline_sentence(result))
        if rows := definition_rows(result):
            console.print_table(rows, title="The same counts, as others define them")
            console.say(definition_sentences(result))


@app.command()
def run(
    recipe: RecipeName, cohort: Data = None, start: Start = None, as_json: Json = False
) -> None:
    """Do the whole main job in this process, without Prefect.

    Example: wsi-vit run ebhi_segmentation --cohort data/ebhi-seg
    """
    from wsi_vit import pipeline
    from wsi_vit.recipe import load_recipe

    resolved = load_recipe(recipe).reading(cohort).starting_from(start)
    with console.progress_bars() as progress:
        done = pipeline.run_recipe(resolved, settings=Settings(), progress=progress)
    if as_json:
        console.print_json(done)
    else:
        console.say(f"{done.sentence} {done.model.spoken()}")
        _say_time(done.run)
        for sheet in done.contact_sheets:
            console.say(f"Slides: [bold]{sheet}[/bold]")
        console.say(f"Report: [bold]{done.run / 'report.html'}[/bold]")
    exit_on_lost(done.quarantined)


@app.command()
def pretrain(
    recipe: RecipeName, cohort: Data = None, start: Start = None, as_json: Json = False
) -> None:
    """Learn first weights from slides or images that nobody has labelled.

    Example: wsi-vit pretrain wsi_pretraining --cohort slides
    """
    from wsi_vit import pipeline
    from wsi_vit.recipe import load_recipe

    resolved = load_recipe(recipe).reading(cohort).starting_from(start)
    with console.progress_bars() as progress:
        done = pipeline.pretrain(resolved, settings=Settings(), progress=progress)
    if as_json:
        console.print_json(done)
    else:
        console.say(done.sentence)
        _say_time(done.run)
        console.say(f"Report: [bold]{done.report}[/bold]")
        console.say(f"Begin from it: wsi-vit run RECIPE --start {done.weights}")
    exit_on_lost(done.quarantined)


@app.command()
def compare(
    recipe: RecipeName,
    cohort: Data = None,
    start: Start = None,
    seeds: Annotated[int, typer.Option(min=2, help="How often each side is trained.")] = 5,
    as_json: Json = False,
) -> None:
    """Train a recipe with and without its TokenLearner; compare accuracy, speed and memory.

    Example: wsi-vit compare token_learner_digits
    """
    from wsi_vit import pipeline
    from wsi_vit.evaluation.token_learner import words
    from wsi_vit.recipe import load_recipe

    resolved = load_recipe(recipe).reading(cohort).starting_from(start)
    with console.progress_bars() as progress:
        done = pipeline.compare_token_learner(
            resolved, seeds=seeds, settings=Settings(), progress=progress
        )
    if as_json:
        console.print_json(done)
        return
    console.say(done.sentence)
    console.print_table([dict(row) for row in words.side_rows(done.comparison)])
    console.say(words.how_tested(done.comparison))
    console.say(words.how_measured(done.comparison))
    console.say(f"Page: [bold]{done.page}[/bold]")


def _say_time(run: Path) -> None:
    from wsi_vit.pipeline.timing import time_spent

    if spent := time_spent(run):
        console.say(spent.spoken())


def _built(recipe: Any, settings: Settings, progress: Any) -> Path:
    from wsi_vit import pipeline

    outcomes = pipeline.tile_cohort(recipe, settings=settings, progress=progress)
    return pipeline.build(recipe, outcomes, settings=settings).folder
