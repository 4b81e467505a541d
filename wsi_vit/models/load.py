"""A saved model, verified and loaded."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import nn

from wsi_vit.errors import ModelError
from wsi_vit.models.building import model_class
from wsi_vit.models.checkpoint import HEAD_PREFIX, is_own_head
from wsi_vit.models.folder import WEIGHTS, read_labels, read_part, read_preprocessing
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.sections import AnyModel


def load_model(folder: Path) -> NetworkModel:
    """Load a model that `save` wrote, in evaluation mode; nothing in the folder is run.

    Raises:
        ModelError: The folder is no model of ours, unfinished, damaged, or needs another version.
    """
    if not folder.is_dir():
        raise ModelError("No such folder", got=folder, remedy="Name a run's model/ folder")
    section = saved_section(folder)
    labels = read_labels(folder)
    kind = model_class(section)
    network = kind.restored(section, folder, labels)
    found = read_preprocessing(folder)
    model = kind(network, section=section, labels=labels, preprocessing=found)
    if (head := model.own_head()) is not None:
        _load_head(head, folder / WEIGHTS)
    return model.eval()


def saved_section(folder: Path) -> AnyModel:
    """Return the section that a saved model was made from; no weight is read.

    Raises:
        ModelError: The folder is no model of ours, unfinished, or needs another version.
    """
    part = read_part(folder)
    try:
        return TypeAdapter[Any](AnyModel).validate_python(part.section)
    except ValidationError as error:
        raise ModelError(
            f"The saved section does not fit this version ({error.error_count()} values)",
            got=folder,
            remedy="Load it with the version of wsi-vit that saved it",
        ) from error


def _load_head(head: nn.Module, weights: Path) -> None:
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        names = [name for name in file.keys() if is_own_head(name)]  # noqa: SIM118  (no mapping)
        tensors = {name.removeprefix(HEAD_PREFIX): file.get_tensor(name) for name in names}
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(
            "The head's weights do not fit", got=weights, remedy="Save the model again"
        ) from error
