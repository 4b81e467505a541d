"""One class an image, by our own Vision Transformer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import read_config, read_json, refuse_gaps
from wsi_vit.models.classification import ImageClassifier, same_names
from wsi_vit.models.sections import VitSection
from wsi_vit.models.vit.architecture import (
    Architecture,
    drawn_architecture,
    refuse_misfits,
    said_by,
)
from wsi_vit.models.vit.forms import architecture_of, form_of
from wsi_vit.models.vit.own_files import MODEL_TYPE, read_own, write_own
from wsi_vit.models.vit.transformer import Encoder, VisionTransformer, Watched, interpolated
from wsi_vit.models.vit.weights import (
    read_encoder,
    read_head,
    transformers_class,
    write_as_transformers,
)

_NEW = ("head.", "encoder.token_learner.")
"""What a checkpoint may lack: it is drawn."""


class Vit(ImageClassifier):
    """A Vision Transformer of ours, with or without a TokenLearner; scores are (B, classes)."""

    section: VitSection
    network: VisionTransformer

    @staticmethod
    def drawn(
        section: VitSection, options: Mapping[str, Any], labels: LabelMap
    ) -> VisionTransformer:
        """Return a network of random weights."""
        return _network(drawn_architecture(options, section), section, labels)

    @staticmethod
    def begun(section: VitSection, folder: Path, labels: LabelMap) -> VisionTransformer:
        """Return a network with a checkpoint's encoder, and its head where the classes agree.

        Positions are interpolated once, to the patches of the input.
        """
        theirs, tensors = _read(folder, labels, section)
        network = _network(said_by(theirs, section), section, labels)
        if not same_names(folder, labels):
            tensors = _headless(tensors)
        grid = network.encoder.architecture.grid
        if (place := "encoder.embedding.positions") in tensors:
            tensors[place] = interpolated(tensors[place], theirs, (grid, grid))
        _fill(network, tensors, folder, new=_NEW)
        return network

    @staticmethod
    def restored(section: VitSection, folder: Path, labels: LabelMap) -> VisionTransformer:
        """Return the network of a model that was saved, every tensor of it."""
        theirs, tensors = _read(folder, labels, section)
        network = _network(said_by(theirs, section), section, labels)
        _fill(network, tensors, folder, new=())
        return network

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) of uint8 images (B, 3, H, W)."""
        return self.network(self._pixels(images))

    def watched(self, images: Tensor) -> Watched:
        """Return the same logits of uint8 images with attention, tokens and TokenLearner's maps."""
        return self.network.watched(self._pixels(images))

    def backbone(self) -> nn.Module:
        """Return the encoder without a TokenLearner, which is new to a checkpoint's weights."""
        encoder = self.network.encoder
        return nn.ModuleDict(
            {"embedding": encoder.embedding, "blocks": encoder.blocks, "norm": encoder.norm}
        )

    @property
    def architecture(self) -> str:
        """What the network is called."""
        return self._form or MODEL_TYPE

    @property
    def transformers_class(self) -> str | None:
        """The class of transformers that reads a saved model's network, if there is one."""
        return transformers_class(self.network, self._form) if self._form else None

    def write_network(self, folder: Path) -> None:
        """Write config.json and model.safetensors, as transformers has them where it can."""
        if self._form:
            write_as_transformers(self.network, folder, self.labels)
        else:
            write_own(self.network, folder, self.labels, learner=self.section.token_learner)

    def own_head(self) -> nn.Module | None:
        """Return the head where the saved network has none: it sees what transformers' does not."""
        native = self.network.encoder.architecture.native_pool("native")
        return self.network.head if self._form and self.network.pool != native else None

    @property
    def _form(self) -> str | None:
        return form_of(self.network.encoder.architecture, self.section.token_learner)


def _network(
    architecture: Architecture, section: VitSection, labels: LabelMap
) -> VisionTransformer:
    refuse_misfits(architecture, section)
    encoder = Encoder(
        architecture, token_learner=section.token_learner, drop_path=section.drop_path
    )
    return VisionTransformer(
        encoder, classes=len(labels), pool=section.pool, dropout=section.dropout
    )


def _read(
    folder: Path, labels: LabelMap, section: VitSection
) -> tuple[Architecture, dict[str, Tensor]]:
    """Return a checkpoint's architecture and its tensors by our names."""
    if read_json(folder / "config.json").get("model_type") == MODEL_TYPE:
        return _read_own(folder, section)
    config = read_config(folder, labels=labels)
    architecture = architecture_of(config, folder)
    tensors = read_encoder(folder, config)
    native = architecture.native_pool("native")
    return architecture, tensors | read_head(folder, architecture.native_pool(section.pool), native)


def _read_own(folder: Path, section: VitSection) -> tuple[Architecture, dict[str, Tensor]]:
    said, tensors = read_own(folder)
    if said.token_learner is not None and said.token_learner != section.token_learner:
        raise ModelError(
            "The checkpoint has a TokenLearner of its own, and its blocks have learnt with it",
            got=section.token_learner or "no token_learner",
            known=[said.token_learner],
            remedy="Say the same `token_learner`",
        )
    if said.pool != said.architecture.native_pool(section.pool):
        tensors = _headless(tensors)
    return said.architecture, tensors


def _headless(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.startswith("head.")}


def _fill(
    network: VisionTransformer, tensors: dict[str, Tensor], folder: Path, *, new: tuple[str, ...]
) -> None:
    """Put tensors into a network; each finds its place and each place its tensor, but `new` ones.

    Raises:
        ModelError: Naming those that do not.
    """
    own = network.state_dict()
    shaped = {
        name: value.reshape(own[name].shape) if _is_kernel(name, value, own) else value
        for name, value in tensors.items()
    }
    odd = [name for name, value in shaped.items() if name in own and own[name].shape != value.shape]
    report = {
        "missing_keys": sorted(set(own) - set(shaped)),
        "unexpected_keys": sorted(set(shaped) - set(own)),
        "mismatched_keys": [(name,) for name in odd],
    }
    refuse_gaps(report, folder, lambda name: name.startswith(new))
    network.load_state_dict(shaped, strict=False)


def _is_kernel(name: str, value: Tensor, own: dict[str, Tensor]) -> bool:
    """Say whether a tensor is a patch's projection: a matrix here and a kernel there."""
    place = "encoder.embedding.patches.projection.weight"
    return name == place and value.numel() == own[place].numel()
