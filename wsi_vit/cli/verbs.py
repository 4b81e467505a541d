"""The application that every verb hangs on, and what verbs ask and say alike."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from wsi_vit import console

app = typer.Typer(
    name="wsi-vit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From whole-slide images to registered, reproducible models, and back to slides.",
)

RecipeName = Annotated[str, typer.Argument(help="Name of a recipe, or a path that ends in .yaml.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--cohort", help="cohort.csv, a folder of slides or images, or the copy of a public set."
    ),
]
Start = Annotated[Path | None, typer.Option(help="Local folder of weights to start from.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]

ModelName = Annotated[str, typer.Argument(help="A model folder, or models:/name@champion.")]
Inputs = Annotated[
    list[Path],
    typer.Argument(help="Slides, a cohort.csv, pictures, folders; - reads paths from stdin."),
]
Out = Annotated[Path, typer.Option(help="Where results go.")]
Mpp = Annotated[float | None, typer.Option(help="µm per pixel of what does not say.")]
Overlap = Annotated[
    float | None,
    typer.Option(min=0, max=0.75, help="Share of a tile that its neighbour sees as well."),
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON for each as it is finished.")
]


def exit_on_lost(lost: list[str]) -> None:
    """End with exit code 3 and their names where something was quarantined."""
    if lost:
        console.warn(f"Quarantined: {', '.join(lost)}")
        raise typer.Exit(console.QUARANTINED)


def lost_of(outcomes: Any) -> list[str]:
    """Return the names of those that were quarantined."""
    return [item.slide_id for item in outcomes if item.state == "quarantined"]


def show_each(work: Callable[..., Iterable[Any]], *, as_json: bool) -> None:
    """Tell what becomes of each slide or picture: a program at once, a person in a table at last.

    Ends with exit code 3 where something was quarantined.

    Args:
        work: Yields the outcomes; it is given `progress`.
        as_json: Tell programs all that is known, not the path of the result alone.
    """
    with console.progress_bars() as progress:
        done = [_told_at_once(item, as_json=as_json) for item in work(progress=progress)]
    if not (as_json or console.is_piped()):
        console.print_table([item.row() for item in done])
    exit_on_lost(lost_of(done))


def _told_at_once(outcome: Any, *, as_json: bool) -> Any:
    if as_json:
        console.print_json_line(outcome)
    elif console.is_piped() and outcome.result:
        console.print_line(str(outcome.result))
    elif console.is_piped():
        console.warn(f"{outcome.slide_id}: {outcome.message}")
    return outcome


def show_quality(report: Any) -> None:
    """Print what speaks for and against slides, and where table and pictures are."""
    if report.slides:
        console.print_table([slide.row() for slide in report.slides], title="Quality")
        console.say("\n".join(str(path) for path in (report.table, *report.sheets)))
