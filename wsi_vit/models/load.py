"""A saved model, verified and loaded; and the union of all sections that make one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from torch import nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import load_network, read_config
from wsi_vit.models.classifier import Classifier, ClassifierSection, class_for
from wsi_vit.models.folder import (
    HEAD_PREFIX,
    WEIGHTS,
    read_labels,
    read_part,
    read_preprocessing,
)
from wsi_vit.models.maskformer import MaskFormer, MaskFormerSection, network_class

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AnyModel = Annotated[ClassifierSection | MaskFormerSection, Field(discriminator="kind")]
"""The `model` part of a recipe."""


def load_model(folder: Path) -> Classifier | MaskFormer:
    """Load a model that `save` wrote, in evaluation mode; nothing in the folder is run.

    Raises:
        ModelError: The folder is no model of ours, unfinished, damaged, or needs another version.
    """
    if not folder.is_dir():
        raise ModelError("No such folder", got=folder, remedy="Name a run's model/ folder")
    part = read_part(folder)
    try:
        section = TypeAdapter[Any](AnyModel).validate_python(part.section)
    except ValidationError as error:
        raise ModelError(
            f"The saved section does not fit this version ({error.error_count()} values)",
            got=folder,
            remedy="Load it with the version of wsi-vit that saved it",
        ) from error
    labels = read_labels(folder)
    network = _network(section, folder, labels)
    model = section.assemble(network, labels, read_preprocessing(folder))
    if isinstance(model, Classifier) and model.head is not None:
        _load_head(model.head, folder / WEIGHTS)
    return model.eval()


def _network(section: Any, folder: Path, labels: LabelMap) -> "PreTrainedModel":
    config = read_config(folder, labels=labels)
    if isinstance(section, MaskFormerSection):
        auto = network_class(section.architecture)
        return load_network(auto, folder, config=config, attn_implementation="eager")
    own_head = section.has_own_head(config)
    auto, extra = class_for(config, own_head=own_head)
    return load_network(auto, folder, config=config, may_differ=_is_own_head, **extra)


def _is_own_head(key: str) -> bool:
    return key.startswith(HEAD_PREFIX)


def _load_head(head: nn.Module, weights: Path) -> None:
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        names = [name for name in file.keys() if _is_own_head(name)]  # noqa: SIM118  (no mapping)
        tensors = {name.removeprefix(HEAD_PREFIX): file.get_tensor(name) for name in names}
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(
            "The head's weights do not fit", got=weights, remedy="Save the model again"
        ) from error
