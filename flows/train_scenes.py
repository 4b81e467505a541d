"""train-ade20k, train-sidewalk, train-crack: images and masks -> dataset -> model -> registry."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.parameters import Ade20kParameters, CrackParameters, SidewalkParameters
from flows.stages import TRAINING, train_and_register


@flow(name="train-ade20k", **TRAINING)
def train_ade20k(parameters: Ade20kParameters) -> State[Any]:
    """Take a few classes of ADE20K to a registered model of rooms."""
    return train_and_register(parameters)


@flow(name="train-sidewalk", **TRAINING)
def train_sidewalk(parameters: SidewalkParameters) -> State[Any]:
    """Take street scenes to a registered model of people, vehicles and signs."""
    return train_and_register(parameters)


@flow(name="train-crack", **TRAINING)
def train_crack(parameters: CrackParameters) -> State[Any]:
    """Take pictures of cracked surfaces to a registered model of the cracks."""
    return train_and_register(parameters)
