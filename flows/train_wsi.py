"""train-wsi: slides -> tiles -> dataset -> model -> evaluation -> registry."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import TrainParameters
from flows.stages import TRAINING, train_and_register


@flow(name="train-wsi", **TRAINING)
def train_wsi(parameters: TrainParameters) -> State[Any]:
    """Take a team's slides to a registered, reproducible model."""
    return train_and_register(parameters)
