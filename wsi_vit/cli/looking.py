"""`wsi-vit slides`: look at slide files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from wsi_vit import console
from wsi_vit.cli.verbs import Json, Mpp, app, exit_on_lost, show_quality

_Tissue = Annotated[str | None, typer.Option(help="Recipe that says what counts as tissue.")]

slides_app = typer.Typer(no_args_is_help=True, help="Look at slide files.")
app.add_typer(slides_app, name="slides")


@slides_app.command("info")
def slides_info(file: Path, mpp: Mpp = None, as_json: Json = False) -> None:
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


@slides_app.command("quality")
def slides_quality(
    inputs: Annotated[list[Path], typer.Argument(help="Slides, folders of slides, a cohort.csv.")],
    recipe: _Tissue = None,
    out: Annotated[Path, typer.Option(help="Where table and contact sheet go.")] = Path("quality"),
    as_json: Json = False,
) -> None:
    """Find blur, ink, folds and odd stains; draw all slides on a contact sheet, the worst first.

    Example: wsi-vit slides quality cohort.csv --out quality
    """
    from wsi_vit.pipeline.quality import check_quality

    with console.progress_bars() as progress:
        report = check_quality(inputs, section=_section_of(recipe), out=out, progress=progress)
    if as_json:
        console.print_json(report)
    else:
        show_quality(report)
    exit_on_lost(report.lost)


@slides_app.command("tissue")
def slides_tissue(
    file: Path,
    recipe: _Tissue = None,
    out: Annotated[
        Path | None, typer.Option(help="A .geojson; else beside the slide, where it wins at once.")
    ] = None,
    mpp: Mpp = None,
) -> None:
    """Write the tissue that is found as outlines, to be edited in QuPath.

    In QuPath, drop the file on the open slide, change outlines, and export
    all objects as GeoJSON. Outlines of the class Tissue are then the slide's
    tissue, all of it; Ignore* is taken out. The edited file wins where the
    cohort's tissue_mask column names it, or where it lies beside the slide as
    SLIDE.tissue.geojson.

    Example: wsi-vit slides tissue a.svs --out a.tissue.geojson
    """
    from wsi_vit.pipeline.tissue_outlines import write_tissue
    from wsi_vit.slides.slide_input import SlideInput

    given = SlideInput(file, mpp=mpp)
    path = write_tissue(given, section=_section_of(recipe), out=out)
    console.say(f"[bold]{path}[/bold]")


def _section_of(recipe: str | None) -> Any:
    """Return how slides are surveyed: as a recipe says, or by default."""
    from wsi_vit.pipeline.quality import SurveySection, surveyed_as

    if recipe is None:
        return SurveySection()
    from wsi_vit.recipe import load_recipe

    return surveyed_as(load_recipe(recipe))
