"""The registry: versions, the champion, and what they see."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from wsi_vit import console
from wsi_vit.cli.verbs import (
    Inputs,
    Json,
    JsonLines,
    ModelName,
    Mpp,
    Out,
    Overlap,
    app,
    show_each,
)
from wsi_vit.models.averaging import Average
from wsi_vit.settings import Settings


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
    model: ModelName,
    inputs: Inputs,
    out: Out = Path("runs/predictions"),
    mpp: Mpp = None,
    average: Annotated[
        Average | None,
        typer.Option(
            help="Average the scores over the picture and its mirror image (flips), or over all "
            "eight ways to turn it (symmetries: for tissue). If absent: as saved with the model."
        ),
    ] = None,
    overlap: Overlap = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Tiles or pictures that go through at once.")
    ] = None,
    as_json: JsonLines = False,
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
    work = partial(pipeline.predict, model, paths, options=options, out=out, settings=Settings())
    show_each(work, as_json=as_json)


def _show_version(version: Any, *, as_json: bool) -> None:
    if as_json:
        console.print_json(version)
    else:
        console.print_table([version.row()])
