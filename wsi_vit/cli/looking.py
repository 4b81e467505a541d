"""`wsi-vit slides`: look at slide files."""

from pathlib import Path
from typing import Annotated

import typer

from wsi_vit import console
from wsi_vit.cli.verbs import Json, app, exit_on_lost

slides_app = typer.Typer(no_args_is_help=True, help="Look at slide files.")
app.add_typer(slides_app, name="slides")


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
    exit_on_lost([str(report.path) for report in reports if report.reason])
