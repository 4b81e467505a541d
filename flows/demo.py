"""The main job on a synthetic cohort, offline, through the real flows.

Prefect's embedded server and MLflow keep their databases in the demonstration's folder, so nothing
else on the computer is touched.
"""

import csv
import os
import time
from pathlib import Path
from typing import Any

from wsi_vit import console
from wsi_vit.settings import Settings

SLIDES = 12
HELD_OUT = "held_out.csv"


def run_demo(out: Path) -> Path:
    """Synthesise, train twice, predict a held-out slide, write a page; return the page.

    A second call skips whatever is there already and says so.
    """
    started = time.monotonic()
    _use_embedded_servers(out)
    cohort = _cohort(out / "cohort")
    trained = {name: _train(name, cohort) for name in ("demo_classification", "demo_segmentation")}
    predictions = _predict(trained["demo_segmentation"], cohort, out)
    page = _page(out, trained, predictions)
    _tell(page, trained, time.monotonic() - started)
    return page


def _use_embedded_servers(out: Path) -> None:
    """Name the folders and servers before Prefect is imported, as it reads them only once."""
    out.mkdir(parents=True, exist_ok=True)
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.update(
        WSI_VIT_RUNS=str(out.resolve()),
        PREFECT_HOME=str(out.resolve() / "prefect"),
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_RESULTS_DEFAULT_SERIALIZER="json",
        PREFECT_LOGGING_LEVEL="WARNING",
        DO_NOT_TRACK="1",
        MLFLOW_DISABLE_TELEMETRY="true",
        HF_HUB_OFFLINE="1",
    )


def _cohort(folder: Path) -> Path:
    from wsi_vit.slides.synthetic import synthesise_cohort

    cohort = folder / "cohort.csv"
    if cohort.exists():
        console.say(f"[dim]skipped[/dim]  synthetic slides are there: {cohort}")
        return cohort
    console.say(f"[bold]1/4[/bold]  drawing {SLIDES} synthetic colorectal slides …")
    return synthesise_cohort(folder, slides=SLIDES, seed=1)


def _train(recipe: str, cohort: Path) -> dict[str, Any]:
    from flows.parameters import TrainParameters
    from flows.train_wsi import train_wsi

    step = "2/4" if recipe.endswith("classification") else "3/4"
    console.say(f"[bold]{step}[/bold]  train-wsi with recipe {recipe} …")
    result: Any = train_wsi(TrainParameters(recipe=recipe, cohort=cohort))
    for stage in result["reused"]:
        console.say(f"[dim]skipped[/dim]  {recipe}: {stage} is there already")
    console.say(f"     {result['sentence']}")
    return result
