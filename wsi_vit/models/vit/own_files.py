"""A Vision Transformer that transformers has no class for, in a folder of ours alone.

`config.json` names the model type `wsi_vit`, so that no other tool takes it for something else.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from torch import Tensor

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import names_of, read_json, weight_files
from wsi_vit.models.sections import Pool, TokenLearnerSection
from wsi_vit.models.vit.architecture import Architecture
from wsi_vit.models.vit.transformer import VisionTransformer
from wsi_vit.section import Section

MODEL_TYPE = "wsi_vit"


class OwnConfig(Section):
    """What `config.json` says of the network."""

    architecture: Architecture
    token_learner: TokenLearnerSection | None = Field(default=None)
    pool: Pool


def write_own(
    network: VisionTransformer,
    folder: Path,
    labels: LabelMap,
    *,
    learner: TokenLearnerSection | None,
) -> None:
    """Write config.json and model.safetensors with every tensor by our name."""
    from safetensors.torch import save_file

    said = OwnConfig(
        architecture=network.encoder.architecture, token_learner=learner, pool=network.pool
    )
    config: dict[str, Any] = {"model_type": MODEL_TYPE, **said.model_dump(mode="json")}
    (folder / "config.json").write_text(json.dumps(config | names_of(labels)))
    tensors = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def read_own(folder: Path) -> tuple[OwnConfig, dict[str, Tensor]]:
    """Return what `write_own` wrote.

    Raises:
        ModelError: It is missing, damaged, or another version's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    said = read_json(folder / "config.json")
    try:
        known = {key: value for key, value in said.items() if key in OwnConfig.model_fields}
        config = OwnConfig.model_validate(known)
        [weights] = weight_files(folder)
        return config, load_file(weights)
    except (ValidationError, ValueError, SafetensorError, OSError) as error:
        raise ModelError(
            f"A Vision Transformer of ours cannot be read ({type(error).__name__})",
            got=folder,
            remedy="Save the model again, or load it with the version that saved it",
        ) from error
