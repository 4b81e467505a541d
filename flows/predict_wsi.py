"""predict-wsi: slides -> class maps, with the model the registry calls champion.

A slide that this very model has predicted before is skipped: results are named by the digests of
slide, model and settings, so the nightly run takes only what is new.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.artifacts import show_pictures, show_table
from flows.parameters import PredictParameters
from flows.retries import AGAIN
from flows.stages import lost_in_words
from wsi_vit import pipeline
from wsi_vit.cohort import CohortRow, read_cohort
from wsi_vit.pipeline import PredictionOutcome
from wsi_vit.settings import Settings


@task(**AGAIN)
def fetch_model(model: str) -> Path:
    """Bring a registered model here and verify every byte of it."""
    return pipeline.fetch_model(model, settings=Settings())


@task(task_run_name="predict {row.slide_id}", **AGAIN)
def predict_slide(model: Path, row: CohortRow, out: Path) -> PredictionOutcome:
    """Predict one slide, whole."""
    return pipeline.predict_row(model, row, out=out, settings=Settings())


@flow(name="predict-wsi", flow_run_name="predict with {parameters.model}")
def predict_wsi(parameters: PredictParameters) -> State[Any]:
    """Draw class maps of the slides that the model has not seen yet."""
    settings = Settings()
    out = parameters.out or settings.runs / "predictions"
    model = fetch_model(parameters.model)
    # One slide after the other: a slide already keeps every core, or the GPU, busy.
    outcomes = [predict_slide(model, row, out) for row in read_cohort(parameters.cohort).rows]
    show_table([item.row() for item in outcomes], key="predictions", title="What became of each")
    show_pictures(
        [item.comparison or item.overview for item in outcomes if item.overview][:12],
        run_key="prediction",
    )
    return Completed(message=_summary(outcomes), data=[o.model_dump(mode="json") for o in outcomes])


def _summary(outcomes: Sequence[PredictionOutcome]) -> str:
    states = [item.state for item in outcomes]
    done = ", ".join(f"{states.count(state)} {state}" for state in ("predicted", "reused"))
    lost = [item.slide_id for item in outcomes if item.state == "quarantined"]
    return f"{done}{lost_in_words(lost)}"
