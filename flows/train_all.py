"""train-all: several models side by side, each in its own process and, if possible, on its card.

The final state is for whoever looks in the morning, or for an automation that rings at night: it is
**Failed as soon as one run that was asked for failed**, and its message names that run with its
reason. Nothing is lost by that: the others go on to their ends, each is a flow run with a state of
its own, and what they trained is registered. Asked again, only what failed is done again.
"""

from collections.abc import Sequence
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.comparison import show_comparison
from flows.parameters import TrainAllParameters
from flows.places import places_here
from flows.retries import AGAIN
from flows.side_by_side import Asked, Ran, run_side_by_side
from flows.train_scenes import train_ade20k, train_crack, train_sidewalk
from flows.train_wsi import train_wsi
from wsi_vit import pipeline
from wsi_vit.settings import Settings

_FLOWS = {
    "ade20k": train_ade20k,
    "sidewalk": train_sidewalk,
    "crack": train_crack,
    "slides": train_wsi,
}
_REASON_CHARACTERS = 300
"""Of each failure's reason in the final state; the table has all of it."""


@task(**AGAIN)
def open_registry() -> int:
    """Reach MLflow before hours of work, and let one process make its tables; count the models."""
    return len(pipeline.models(settings=Settings()))


@flow(name="train-all", flow_run_name="train {parameters.spoken}")
def train_all(parameters: TrainAllParameters) -> State[Any]:
    """Train on image sets, and slides, side by side; compare what came of it."""
    settings = Settings()
    open_registry()
    asked = {name: Asked(_FLOWS[name], item) for name, item in parameters.asked().items()}
    folder = settings.runs.resolve() / "train-all" / str(flow_run.get_id())
    ran = run_side_by_side(asked, places_here(len(asked), settings), folder=folder)
    show_comparison(ran, folder=folder)
    return final_state(ran)


def final_state(ran: Sequence[Ran]) -> State[Any]:
    """Return Completed where every run is, else Failed; each run's end is in the message."""
    trained = [item for item in ran if item.end.completed]
    failed = [item for item in ran if not item.end.completed]
    told = " | ".join(f"{item.name}: {item.end.message}" for item in trained)
    if not failed:
        return Completed(message=told, data=[item.end.result for item in trained])
    faults = " | ".join(f"{item.name}: {item.end.message[:_REASON_CHARACTERS]}" for item in failed)
    message = f"{len(failed)} of {len(ran)} failed: {faults}"
    return Failed(message=f"{message} || trained: {told}" if told else message)
