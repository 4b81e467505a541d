"""`wsi-vit explain`: what a model looked at."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from wsi_vit import console
from wsi_vit.cli.verbs import (
    Inputs,
    JsonLines,
    ModelName,
    app,
    exit_on_lost,
    lost_of,
    told_at_once,
)
from wsi_vit.explanation.section import FaithfulnessSection, Fusion, Method
from wsi_vit.settings import Settings


@app.command()
def explain(
    model: ModelName,
    inputs: Inputs,
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("runs/explanations"),
    method: Annotated[
        Method | None,
        typer.Option(
            help="rollout: attention through all blocks. gradient: of it, what speaks for the "
            "class. attention: the last block, head by head. tokens: a TokenLearner's maps. "
            "gradcam: of networks that pool maps. If absent: rollout, or gradcam where there is "
            "no attention."
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="Explain this class, not the one that is predicted."),
    ] = None,
    fusion: Annotated[Fusion, typer.Option(help="How rollout makes one of the heads.")] = "mean",
    discard: Annotated[
        float,
        typer.Option(min=0, max=0.99, help="Share of the smallest weights that rollout drops."),
    ] = 0.0,
    mpp: Annotated[
        float | None, typer.Option(help="µm per pixel of slides and pictures that do not say.")
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=0.75, help="Share of a slide's tile that its neighbour sees."),
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Delete and insert what the map points at, and compare with random maps: some "
            "900 passes a picture, eight times as many a slide.",
        ),
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Show where a model looked: the picture or slide beside a map, and the raw map.

    A map says where the model looked, not that it was right. With
    --faithfulness it is tested: the score must fall faster than under random
    maps when what it points at is taken away.

    Example: wsi-vit explain models:/wsi-vit-wsi_classification@champion a.svs

    Example: wsi-vit explain runs/demo/model tile.png --method gradient --class tumour --json
    """
    from wsi_vit import pipeline

    options = pipeline.ExplanationOptions(
        method=method,
        class_name=class_name,
        fusion=fusion,
        discard=discard,
        mpp=mpp,
        overlap=overlap,
        test=FaithfulnessSection() if faithfulness else None,
    )
    paths = pipeline.listed_inputs(inputs, sys.stdin.buffer)
    with console.progress_bars() as progress:
        outcomes = pipeline.explain(
            model, paths, options=options, out=out, settings=Settings(), progress=progress
        )
        done = [told_at_once(item, as_json=as_json) for item in outcomes]
    if not (as_json or console.is_piped()):
        console.print_table([item.row() for item in done])
    exit_on_lost(lost_of(done))
