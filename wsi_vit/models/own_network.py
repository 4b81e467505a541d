"""A network that transformers has no class for, in two files by our own names.

`config.json` names a model type of ours, so that no other tool takes it for something else.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import names_of, read_json, refuse_gaps, weight_files
from wsi_vit.section import Section

_Config = TypeVar("_Config", bound=Section)


def write_own(
    network: nn.Module, folder: Path, labels: LabelMap, *, model_type: str, config: Section
) -> None:
    """Write config.json, which says what the network is made of, and model.safetensors."""
    from safetensors.torch import save_file

    said: dict[str, Any] = {"model_type": model_type, **config.model_dump(mode="json")}
    (folder / "config.json").write_text(json.dumps(said | names_of(labels)))
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def read_own(folder: Path, kind: type[_Config]) -> tuple[_Config, dict[str, Tensor]]:
    """Return what `write_own` wrote.

    Raises:
        ModelError: It is missing, damaged, or another version's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    said = read_json(folder / "config.json")
    try:
        known = {key: value for key, value in said.items() if key in kind.model_fields}
        config = kind.model_validate(known)
        [weights] = weight_files(folder)
        return config, load_file(weights)
    except (ValidationError, ValueError, SafetensorError, OSError) as error:
        raise ModelError(
            f"A network of ours cannot be read ({type(error).__name__})",
            got=folder,
            remedy="Save the model again, or load it with the version that saved it",
        ) from error


def fill(
    network: nn.Module, tensors: Mapping[str, Tensor], folder: Path, *, new: tuple[str, ...] = ()
) -> None:
    """Put tensors into a network; each finds its place and each place its tensor.

    Args:
        network: Takes them.
        tensors: By the network's names.
        folder: Where they came from.
        new: Names of what may stay as it was drawn begin like this.

    Raises:
        ModelError: Naming those that do not.
    """
    own = network.state_dict()
    odd = [
        name for name, value in tensors.items() if name in own and own[name].shape != value.shape
    ]
    report = {
        "missing_keys": sorted(set(own) - set(tensors)),
        "unexpected_keys": sorted(set(tensors) - set(own)),
        "mismatched_keys": [(name,) for name in odd],
    }
    refuse_gaps(report, folder, lambda name: name.startswith(new))
    network.load_state_dict(tensors, strict=False)
