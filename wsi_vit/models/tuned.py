"""What all models share whose backbone learns as far as their section's `tuning` says."""

from typing import Any

from torch import nn

from wsi_vit.labels import LabelMap
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.preprocessing import Preprocessing
from wsi_vit.models.tuning import freeze


class TunedModel(NetworkModel):
    """A model of which a part may stay as it was; named first among the bases."""

    section: Any
    """It has a `tuning`; each kind says which section it is."""

    def __init__(
        self,
        network: nn.Module,
        *,
        section: Any,
        labels: LabelMap,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(network, section=section, labels=labels, preprocessing=preprocessing)
        self._asleep = freeze(self.backbone(), section.tuning)

    def train(self, mode: bool = True) -> Any:  # noqa: FBT001, FBT002  (torch's own signature)
        """Switch training on; a backbone that does not learn stays as in evaluation."""
        super().train(mode)
        if self.section.tuning == "head":
            self.backbone().eval()
        return self

    def _frozen(self) -> set[int]:
        return self._asleep
