"""How an encoder of ours comes to its weights, whatever head is on it.

From a checkpoint of transformers, or from a folder of ours that transformers cannot read.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import read_config, read_json
from wsi_vit.models.own_network import fill, read_own
from wsi_vit.models.sections import EncoderSection, Pool, TokenLearnerSection
from wsi_vit.models.vit.architecture import Architecture, refuse_misfits
from wsi_vit.models.vit.forms import architecture_of
from wsi_vit.models.vit.transformer import Encoder, interpolated
from wsi_vit.models.vit.weights import read_encoder
from wsi_vit.section import Section

MODEL_TYPE = "wsi_vit"
"""What `config.json` calls a Vision Transformer that transformers has no class for."""

_PATCHES = "encoder.embedding.patches.projection.weight"
_POSITIONS = "encoder.embedding.positions"
_CLASS_TOKEN = "encoder.embedding.class_token"


Checkpoint = tuple[Architecture, dict[str, Tensor]]
"""What a checkpoint's tensors are made for, and they by our names."""

_Network = TypeVar("_Network", bound=nn.Module)


class OwnConfig(Section):
    """What `config.json` says of such a network."""

    architecture: Architecture
    token_learner: TokenLearnerSection | None = Field(default=None)
    pool: Pool | None = None
    """What a classifier's head sees; None under another head."""


def new_encoder(architecture: Architecture, section: EncoderSection, *, pool: Pool) -> Encoder:
    """Return an encoder of random weights.

    Args:
        architecture: Of its weights, with what the section says of it.
        section: Says what is around the weights.
        pool: What the head will see; `mean` where it sees the patches.

    Raises:
        ModelError: Parts that do not fit together.
    """
    refuse_misfits(architecture, section.token_learner, pool=pool)
    return Encoder(architecture, token_learner=section.token_learner, drop_path=section.drop_path)


def pretrained_parts(encoder: Encoder) -> nn.ModuleDict:
    """Return the encoder without a TokenLearner, which is new to a checkpoint's weights."""
    return nn.ModuleDict(
        {"embedding": encoder.embedding, "blocks": encoder.blocks, "norm": encoder.norm}
    )


def is_own(folder: Path) -> bool:
    """Say whether a checkpoint is a folder of ours that transformers cannot read."""
    return read_json(folder / "config.json").get("model_type") == MODEL_TYPE


def read_theirs(folder: Path, labels: LabelMap) -> Checkpoint:
    """Return architecture and encoder of a checkpoint of transformers, by our names."""
    config = read_config(folder, labels=labels)
    return architecture_of(config, folder), read_encoder(folder, config)


def read_ours(folder: Path, section: EncoderSection) -> tuple[OwnConfig, dict[str, Tensor]]:
    """Return what a folder of ours says, and all its tensors.

    Raises:
        ModelError: It is damaged, or has learnt with another TokenLearner than the section's.
    """
    said, tensors = read_own(folder, OwnConfig)
    if said.token_learner is not None and said.token_learner != section.token_learner:
        raise ModelError(
            "The checkpoint has a TokenLearner of its own, and its blocks have learnt with it",
            got=section.token_learner or "no token_learner",
            known=[said.token_learner],
            remedy="Say the same `token_learner`",
        )
    return said, tensors


def encoder_alone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an encoder's tensors without those of a head."""
    return {name: value for name, value in tensors.items() if name.startswith("encoder.")}


def filled(
    network: _Network, checkpoint: Checkpoint, folder: Path, *, new: tuple[str, ...] = ()
) -> _Network:
    """Return a network around an `encoder` of ours with a checkpoint's tensors in it.

    Args:
        network: Takes them.
        checkpoint: As `read_theirs` or `read_ours` gives it.
        folder: Where it lies.
        new: How the names begin that a checkpoint may lack.

    Raises:
        ModelError: A tensor is missing, left over, or of another shape.
    """
    made_for, tensors = checkpoint
    encoder = network.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    fill(network, _fitted(tensors, made_for, encoder.architecture), folder, new=new)
    return network


def _fitted(
    tensors: Mapping[str, Tensor], made_for: Architecture, wanted: Architecture
) -> dict[str, Tensor]:
    """Return tensors as a network of the same weights has them, which sees images of another size.

    Positions are interpolated to its patches, once; the patches' projection is a matrix there and
    a kernel here, or the other way round. Where it has another number of class tokens, each begins
    as theirs, or as the mean of theirs.
    """
    found = dict(tensors)
    if _POSITIONS in found:
        found[_POSITIONS] = interpolated(found[_POSITIONS], made_for, (wanted.grid, wanted.grid))
    if _PATCHES in found:
        flat = found[_PATCHES].flatten(1)
        side = (3, made_for.patch_px, made_for.patch_px)
        kernel = wanted.embedding == "conv" and flat.shape[1] == math.prod(side)
        found[_PATCHES] = flat.unflatten(1, side) if kernel else flat
    for name in {_CLASS_TOKEN, _POSITIONS} & found.keys():
        found[name] = _with_class_tokens(found[name], made_for.class_tokens, wanted.class_tokens)
    return found


def _with_class_tokens(tokens: Tensor, count: int, wanted: int) -> Tensor:
    """Return tokens (1, tokens, width), class tokens first, with another number of these."""
    if count == wanted:
        return tokens
    one = tokens[:, :count].mean(1, keepdim=True)
    return torch.cat([one.expand(-1, wanted, -1), tokens[:, count:]], dim=1)
