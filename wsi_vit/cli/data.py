"""From slides and pictures to tiles and datasets."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from wsi_vit import console
from wsi_vit.cli.verbs import Data, Json, RecipeName, app, exit_on_lost, lost_of, show_quality
from wsi_vit.settings import Settings


@app.command()
def plan(recipe: RecipeName, cohort: Data = None, as_json: Json = False) -> None:
    """Say what a recipe will take before any work: tiles, bytes, minutes, memory.

    Example: wsi-vit plan wsi_segmentation --cohort cohort.csv
    """
    from wsi_vit.planning import plan_recipe
    from wsi_vit.recipe import load_recipe

    with console.progress_bars() as progress:
        result = plan_recipe(
            load_recipe(recipe).reading(cohort), settings=Settings(), progress=progress
        )
    if as_json:
        console.print_json(result)
    else:
        console.print_table([slide.row() for slide in result.slides], title="Slides")
        console.print_table([result.summary()], title="In all")
    exit_on_lost([slide.slide_id for slide in result.slides if slide.reason])


@app.command()
def tile(
    recipe: RecipeName,
    cohort: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder of runs and derived data.")] = None,
    as_json: Json = False,
) -> None:
    """Cut the slides of a cohort into tiles; what is there already is skipped.

    What speaks against slides goes to OUT/quality/RECIPE: a table, and a
    contact sheet with those first that somebody should look at.

    Example: wsi-vit tile wsi_segmentation --cohort cohort.csv --out runs
    """
    from wsi_vit import pipeline
    from wsi_vit.recipe import load_recipe

    settings = Settings() if out is None else Settings(runs=out)
    resolved = load_recipe(recipe).reading(cohort)
    with console.progress_bars() as progress:
        outcomes = pipeline.tile_cohort(resolved, settings=settings, progress=progress)
    report = pipeline.tiled_quality(resolved, outcomes, settings=settings)
    if as_json:
        console.print_json(outcomes)
    else:
        console.print_table([item.row() for item in outcomes])
        show_quality(report)
    exit_on_lost(lost_of(outcomes))


@app.command()
def dataset(
    recipe: RecipeName,
    cohort: Data = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Publish it on the hub, privately.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="What its owners allow, as the hub calls it.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Look for label traps; count and draw before and after.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Draw training samples and their augmentation.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where --check and --show write; else runs/checks/RECIPE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the dataset of a recipe, with its card and its frozen splits.

    Example: wsi-vit dataset ebhi_classification --cohort data/ebhi-seg

    Example: wsi-vit dataset ebhi_segmentation --cohort data/ebhi-seg --check

    Example: wsi-vit dataset ebhi_segmentation --cohort data/ebhi-seg --show --out pictures

    Example: wsi-vit dataset ade20k_5 --cohort data/ADE20K --push me/scene_parse_5class
    """
    from wsi_vit import pipeline
    from wsi_vit.recipe import load_recipe

    resolved, settings = load_recipe(recipe).reading(cohort), Settings()
    if check or show:
        looks: dict[Literal["check", "show"], bool] = {"check": check, "show": show}
        asked: list[Literal["check", "show"]] = [look for look, wanted in looks.items() if wanted]
        with console.progress_bars() as progress:
            looked = pipeline.look(resolved, asked, out=out, settings=settings, progress=progress)
        _show_look(looked, as_json=as_json)
        return
    listing = pipeline.listing_for(resolved, push, licence=licence) if push else None
    with console.progress_bars() as progress:
        outcomes = pipeline.tile_cohort(resolved, settings=settings, progress=progress)
        built = pipeline.build(resolved, outcomes, settings=settings)
    sent = pipeline.publish(built.folder, listing, settings=settings) if listing else None
    if as_json:
        console.print_json(
            {"folder": built.folder, "digest": built.digest, **built.facts, "published": sent}
        )
    else:
        console.say((built.folder / "dataset_card.md").read_text().replace("[", r"\["))
        console.say(f"\n[bold]{built.folder}[/bold]")
        if sent:
            console.say(sent.sentence)
    exit_on_lost(lost_of(outcomes))


@app.command()
def synthesise(
    slides: Annotated[int, typer.Option(min=1, help="How many slides.")] = 10,
    out: Annotated[Path, typer.Option(help="Folder of the cohort.")] = Path("synthetic"),
    slides_per_patient: Annotated[int, typer.Option(min=1, help="Slides of one patient.")] = 1,
    seed: Annotated[int, typer.Option(help="Another seed, another cohort.")] = 0,
) -> None:
    """Write a synthetic colorectal cohort with exact truth.

    Example: wsi-vit synthesise --slides 10 --out synthetic
    """
    from wsi_vit.slides.synthetic import synthesise_cohort
    from wsi_vit.slides.synthetic.settings import SyntheticSection

    section = SyntheticSection(slides_per_patient=slides_per_patient)
    cohort = synthesise_cohort(out, slides=slides, seed=seed, section=section)
    console.say(f"[bold]{cohort}[/bold]")


def _show_look(looked: Any, *, as_json: bool) -> None:
    if as_json:
        console.print_json(looked)
    else:
        console.print_table(looked.source_rows, title="Before: source ids")
        console.print_table(looked.class_rows, title="After: classes")
        console.say("\n".join(looked.lines).replace("[", r"\["))
    raise typer.Exit(console.OK if looked.passed else console.FAILED)
