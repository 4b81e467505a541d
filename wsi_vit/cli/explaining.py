"""`wsi-vit explain`: what a model looked at."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from wsi_vit.cli.verbs import Inputs, JsonLines, ModelName, Mpp, Out, Overlap, app, show_each
from wsi_vit.explanation.section import FaithfulnessSection, Fusion, Method
from wsi_vit.settings import Settings

_Method = Annotated[
    Method | None,
    typer.Option(
        help="rollout: attention through all blocks. gradient: of it, what speaks for the "
        "class. attention: the last block, head by head. tokens: a TokenLearner's maps. "
        "gradcam: of networks that pool maps. If absent: rollout, or gradcam where there is "
        "no attention."
    ),
]
_Class = Annotated[
    str | None, typer.Option("--class", help="Explain this class, not the one that is predicted.")
]
_Discard = Annotated[
    float, typer.Option(min=0, max=0.99, help="Share of the smallest weights that rollout drops.")
]
_Faithfulness = Annotated[
    bool,
    typer.Option(
        "--faithfulness",
        help="Delete and insert what the map points at, and compare with random maps: some "
        "900 passes a picture, eight times as many a slide.",
    ),
]


@app.command()
def explain(
    model: ModelName,
    inputs: Inputs,
    out: Out = Path("runs/explanations"),
    method: _Method = None,
    class_name: _Class = None,
    fusion: Annotated[Fusion, typer.Option(help="How rollout makes one of the heads.")] = "mean",
    discard: _Discard = 0.0,
    mpp: Mpp = None,
    overlap: Overlap = None,
    faithfulness: _Faithfulness = False,
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
    work = partial(pipeline.explain, model, paths, options=options, out=out, settings=Settings())
    show_each(work, as_json=as_json)
