"""What all models on our own encoder share: which part is pretrained, and how they are saved."""

from pathlib import Path
from typing import Any

from torch import nn

from wsi_vit.models.network import NetworkModel
from wsi_vit.models.own_network import write_own
from wsi_vit.models.vit.beginning import MODEL_TYPE, OwnConfig, pretrained_parts
from wsi_vit.models.vit.forms import form_of
from wsi_vit.models.vit.transformer import VisionTransformer
from wsi_vit.models.vit.weights import transformers_class, write_as_transformers


class EncodedModel(NetworkModel):
    """A model whose network has an `encoder` of ours; named first among the bases.

    It is saved as transformers has it, where transformers has it, else under our own names.
    """

    section: Any
    """An `EncoderSection`; each kind says which."""

    def backbone(self) -> nn.Module:
        """Return the encoder without a TokenLearner, which is new to a checkpoint's weights."""
        return pretrained_parts(self.network.encoder)

    @property
    def architecture(self) -> str:
        """What the network is called."""
        return self._form or MODEL_TYPE

    @property
    def transformers_class(self) -> str | None:
        """The class of transformers that reads a saved model's network, if there is one."""
        return transformers_class(self._as_vit(), self._form) if self._form else None

    def write_network(self, folder: Path) -> None:
        """Write config.json and model.safetensors, as transformers has them where it can."""
        if self._form:
            write_as_transformers(self._as_vit(), folder, self.labels)
        else:
            said = self._own_config()
            write_own(self.network, folder, self.labels, model_type=MODEL_TYPE, config=said)

    @property
    def _form(self) -> str | None:
        """Which of transformers' architectures the network is; None where it has none."""
        return form_of(self.network.encoder.architecture, self.section.token_learner)

    def _as_vit(self) -> VisionTransformer:
        """Return the network that is written where it has a form."""
        return self.network

    def _own_config(self) -> OwnConfig:
        """Return what `config.json` says of it where it has none."""
        return OwnConfig(
            architecture=self.network.encoder.architecture, token_learner=self.section.token_learner
        )
