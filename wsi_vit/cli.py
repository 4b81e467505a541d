"""The `wsi-vit` command: one verb a stage, no logic of its own.

Exit codes: 0 all well, 1 failed, 2 a mistake in what was asked, 3 finished with quarantined slides.
Further verbs are found through the entry-point group `wsi_vit.commands` (the flows bring theirs).
"""

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from wsi_vit import console
from wsi_vit.errors import WsiVitError
from wsi_vit.models.averaging import Average
from wsi_vit.settings import Settings

app = typer.Typer(
    name="wsi-vit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From whole-slide images to registered, reproducible models, and back to slides.",
)
slides_app = typer.Typer(no_args_is_help=True, help="Look at slide files.")
app.add_typer(slides_app, name="slides")

RecipeName = Annotated[str, typer.Argument(help="Name of a recipe, or a path that ends in .yaml.")]
Data = Annotated[
    Path | None,
    typer.Option("--cohort", help="cohort.csv, a folder of slides, or a folder of images."),
]
Start = Annotated[Path | None, typer.Option(help="Local folder of weights to start from.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]


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
    _exit_on_lost([slide.slide_id for slide in result.slides if slide.reason])


@app.command()
def tile(
    recipe: RecipeName,
    cohort: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder of runs and derived data.")] = None,
    as_json: Json = False,
) -> None:
    """Cut the slides of a cohort into tiles; what is there already is skipped.

    Example: wsi-vit tile wsi_segmentation --cohort cohort.csv --out runs
    """
    from wsi_vit import pipeline
    from wsi_vit.recipe import load_recipe

    settings = Settings() if out is None else Settings(runs=out)
    with console.progress_bars() as progress:
        outcomes = pipeline.tile_cohort(
            load_recipe(recipe).reading(cohort), settings=settings, progress=progress
        )
    _show_outcomes(outcomes, as_json=as_json)


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
    """
    from wsi_vit import pipeline
    from wsi_vit.recipe import load_recipe

    resolved, settings = load_recipe(recipe).reading(cohort), Settings()
    if check or show:
        asked = [word for word, is_asked in (("check", check), ("show", show)) if is_asked]
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
    _exit_on_lost([item.slide_id for item in outcomes if item.state == "quarantined"])


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
def register(
    run: Annotated[Path, typer.Argument(help="A run folder.")], as_json: Json = False
) -> None:
    """Bring a run into MLflow and register its model as challenger.

    Example: wsi-vit register runs/wsi_segmentation/0123456789abcdef
    """
    from wsi_vit import pipeline

    _show_version(pipeline.register(run, promotion="never", settings=Settings()), as_json=as_json)


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="A registered name.")], as_json: Json = False
) -> None:
    """Make the challenger champion if it is better on the same frozen test split.

    Example: wsi-vit promote wsi-vit-wsi_segmentation
    """
    from wsi_vit import pipeline

    _show_version(pipeline.promote(name, settings=Settings()), as_json=as_json)


@app.command()
def rollback(name: Annotated[str, typer.Argument(help="A registered name.")]) -> None:
    """Make the previous champion champion again.

    Example: wsi-vit rollback wsi-vit-wsi_segmentation
    """
    from wsi_vit import pipeline

    _show_version(pipeline.rollback(name, settings=Settings()), as_json=False)


@app.command()
def models(as_json: Json = False) -> None:
    """List the registered models with their aliases and scores.

    Example: wsi-vit models --json
    """
    from wsi_vit import pipeline

    rows = pipeline.models(settings=Settings())
    if as_json:
        console.print_json(rows)
    elif rows:
        console.print_table([row.row() for row in rows])
    else:
        console.say("No model is registered yet. Next: wsi-vit run RECIPE --cohort cohort.csv")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A model folder, or models:/name@champion.")],
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Slides, a cohort.csv, pictures, folders; - reads paths from stdin."),
    ],
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("runs/predictions"),
    mpp: Annotated[
        float | None, typer.Option(help="µm per pixel of slides that do not say.")
    ] = None,
    average: Annotated[
        Average | None,
        typer.Option(
            help="Average the scores over the picture and its mirror image (flips), or over all "
            "eight ways to turn it (symmetries: for tissue). If absent: as saved with the model."
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=0.75, help="Share of a tile that its neighbour sees as well."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Tiles or pictures that go through at once.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each as it is finished.")
    ] = False,
) -> None:
    """Draw what a model sees: class maps of slides and pictures, overlays with a legend.

    A terminal gets a table at the end. A pipe gets a line for each as soon as
    it is finished: the path of its class map (of a classified picture, its
    JSON), or with --json all that is known. What cannot be used is named on
    standard error, and the others go on.

    Example: wsi-vit predict models:/wsi-vit-wsi_segmentation@champion a.svs

    Example: find . -name '*.jpg' -print0 | wsi-vit predict runs/crack/01234567 -
    """
    from wsi_vit import pipeline

    options = pipeline.PredictionOptions(
        mpp=mpp, average=average, overlap=overlap, batch_size=batch_size
    )
    paths = pipeline.listed_inputs(inputs, sys.stdin.buffer)
    with console.progress_bars() as progress:
        outcomes = pipeline.predict(
            model, paths, options=options, out=out, settings=Settings(), progress=progress
        )
        done = [_told(item, as_json=as_json) for item in outcomes]
    if not (as_json or console.is_piped()):
        console.print_table([item.row() for item in done])
    _exit_on_lost([item.slide_id for item in done if item.state == "quarantined"])


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
        console.say(f"Report: [bold]{done.run / 'report.html'}[/bold]")
    _exit_on_lost(done.quarantined)


@slides_app.command("info")
def slides_info(
    file: Path, mpp: Annotated[float | None, typer.Option()] = None, as_json: Json = False
) -> None:
    """Show a slide's geometry, its resolution and where that came from.

    Example: wsi-vit slides info a.svs
    """
    from wsi_vit.slides.facts import slide_facts
    from wsi_vit.slides.slide import open_slide

    with open_slide(file, mpp=mpp) as slide:
        facts = slide_facts(slide)
    if as_json:
        console.print_json(facts)
    else:
        rows = facts.model_dump(mode="json").items()
        console.print_table([{"property": key, "value": str(value)} for key, value in rows])


@slides_app.command("check")
def slides_check(files: list[Path], as_json: Json = False) -> None:
    """Read slides through and say which cannot be used, and why.

    Example: wsi-vit slides check slides/*.svs
    """
    from wsi_vit.slides.facts import check_slide

    with console.progress_bars() as progress:
        reports = []
        for index, file in enumerate(files):
            progress("checking", index, len(files))
            reports.append(check_slide(file))
    if as_json:
        console.print_json(reports)
    else:
        console.print_table(
            [
                {
                    "slide": report.path.name,
                    "tiles read": report.native_tiles,
                    "unreadable": report.unreadable,
                    "what to do": report.message or "nothing: it can be used",
                }
                for report in reports
            ]
        )
    _exit_on_lost([str(report.path) for report in reports if report.reason])


@app.command()
def why(artefact: Path, as_json: Json = False) -> None:
    """Say what shaped a piece of derived data, down to the slides.

    Example: wsi-vit why runs/store/dataset/0123456789abcdef
    """
    from wsi_vit.lineage import explain_artefact

    tree = explain_artefact(artefact, Settings().store_root)
    if as_json:
        console.print_json(tree)
    else:
        console.say("\n".join(tree.lines()).replace("[", r"\["))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder of runs, or one of them.")] = Path(
        "runs"
    ),
    as_json: Json = False,
) -> None:
    """Re-hash everything below a folder and compare it with what was committed.

    Example: wsi-vit verify runs
    """
    from wsi_vit.store import verify_folder

    files, faults = verify_folder(folder)
    if as_json:
        console.print_json({"files": files, "faults": faults})
    else:
        for fault in faults:
            console.warn(f"{fault.path}: {fault.problem}")
        console.say(f"{files} files read, {len(faults)} faults")
    raise typer.Exit(console.FAILED if faults else console.OK)


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


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check versions, reader libraries, GPU, disk and servers; print a fix for each fault.

    Example: wsi-vit doctor
    """
    from wsi_vit.doctor import examine

    findings = examine(Settings())
    if as_json:
        console.print_json(findings)
    else:
        console.print_table([finding.model_dump() for finding in findings])
    raise typer.Exit(console.FAILED if any(item.fix for item in findings) else console.OK)


def main() -> None:
    """Run the command line; each error of ours is one message and an exit code."""
    for entry in entry_points(group="wsi_vit.commands"):
        entry.load()(app)
    try:
        app()
    except WsiVitError as error:
        sys.exit(console.exit_code(error))
    except KeyboardInterrupt:
        console.warn("Interrupted; finished work is kept, so the same command goes on from here.")
        sys.exit(130)


def _built(recipe: Any, settings: Settings, progress: Any) -> Path:
    from wsi_vit import pipeline

    outcomes = pipeline.tile_cohort(recipe, settings=settings, progress=progress)
    return pipeline.build(recipe, outcomes, settings=settings).folder


def _told(outcome: Any, *, as_json: bool) -> Any:
    """Tell a program at once what became of one slide or picture."""
    if as_json:
        console.print_json_line(outcome)
    elif console.is_piped() and outcome.result:
        console.print_line(str(outcome.result))
    elif console.is_piped():
        console.warn(f"{outcome.slide_id}: {outcome.message}")
    return outcome


def _show_outcomes(outcomes: Any, *, as_json: bool) -> None:
    if as_json:
        console.print_json(outcomes)
    else:
        console.print_table([item.row() for item in outcomes])
    _exit_on_lost([item.slide_id for item in outcomes if item.state == "quarantined"])


def _show_look(looked: Any, *, as_json: bool) -> None:
    if as_json:
        console.print_json(looked)
    else:
        console.print_table(looked.source_rows, title="Before: source ids")
        console.print_table(looked.class_rows, title="After: classes")
        console.say("\n".join(looked.lines).replace("[", r"\["))
    raise typer.Exit(console.OK if looked.passed else console.FAILED)


def _show_version(version: Any, *, as_json: bool) -> None:
    if as_json:
        console.print_json(version)
    else:
        console.print_table([version.row()])


def _exit_on_lost(lost: list[str]) -> None:
    if lost:
        console.warn(f"Quarantined: {', '.join(lost)}")
        raise typer.Exit(console.QUARANTINED)
