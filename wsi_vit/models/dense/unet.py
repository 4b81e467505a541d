"""One class a pixel, by convolutions alone: MONAI's BasicUNet, the baseline.

Falk et al., "U-Net: deep learning for cell counting, detection, and morphometry" (Nature Methods
2019), after Ronneberger et al. (2015): five levels, two convolutions on each, and on the way up the
maps of the way down. Instance norms, so that a batch of one is as good as any.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.attended import FeatureMaps, noting_outputs
from wsi_vit.models.dense.model import DenseModel, enlarged
from wsi_vit.models.own_network import fill, read_own, write_own
from wsi_vit.models.sections import UnetSection
from wsi_vit.section import Section, faults_in

_MODEL_TYPE = "monai_basic_unet"
_Count = Annotated[int, Field(ge=1)]
Channels = tuple[_Count, _Count, _Count, _Count, _Count, _Count]


class UnetOptions(Section):
    """The size of a U-Net; the defaults are MONAI's, two million weights."""

    features: Channels = (32, 32, 64, 128, 256, 32)
    """Channels of the five levels, and of the last maps before the classes."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    upsample: Literal["deconv", "pixelshuffle", "nontrainable"] = "deconv"
    """How maps are enlarged on the way up; `nontrainable`: bilinearly, then a 1x1 convolution."""


class _Saved(Section):
    options: UnetOptions


class UnetNetwork(nn.Module):
    """MONAI's network, with what it was made of."""

    def __init__(self, options: UnetOptions, classes: int) -> None:
        super().__init__()
        self.options = options
        self.unet = _basic_unet(options, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, classes, H, W) of normalised pixels (B, 3, H, W)."""
        return self.unet(pixels)


class Unet(DenseModel):
    """A U-Net of MONAI."""

    section: UnetSection
    network: UnetNetwork

    @staticmethod
    def drawn(
        section: UnetSection,  # noqa: ARG004  (all models are asked the same way)
        options: Mapping[str, Any],
        labels: LabelMap,
    ) -> UnetNetwork:
        """Return a network of random weights."""
        try:
            return UnetNetwork(UnetOptions.model_validate(dict(options)), len(labels))
        except ValidationError as error:
            raise ModelError(
                "These options make no U-Net",
                got=faults_in(error),
                known=UnetOptions.model_fields,
                remedy="Correct `start.options`",
            ) from error

    @staticmethod
    def begun(section: UnetSection, folder: Path, labels: LabelMap) -> NoReturn:  # noqa: ARG004
        """Refuse: there are no published weights of it."""
        raise ModelError(
            "A U-Net learns from random weights: it takes no checkpoint",
            got=folder,
            remedy="Leave `start` and --start out, or choose `kind: segmenter`",
        )

    @staticmethod
    def restored(
        section: UnetSection,  # noqa: ARG004
        folder: Path,
        labels: LabelMap,
    ) -> UnetNetwork:
        """Return the network of a model that was saved, every tensor of it."""
        said, tensors = read_own(folder, _Saved)
        network = UnetNetwork(said.options, len(labels))
        fill(network, tensors, folder)
        return network

    def feature_maps(self, images: Tensor) -> FeatureMaps:
        """Return logits of uint8 images with the maps of the deepest level, (B, features, h, w).

        They are where Vinogradova et al. (AAAI 2020) explain a U-Net: each of their places has seen
        the most around it. Gradients reach them where autograd is on.
        """
        pixels = self._pixels(images).requires_grad_(torch.is_grad_enabled())
        with noting_outputs(self.network.unet.get_submodule("down_4")) as found:
            logits = enlarged(self.maps(pixels), *images.shape[-2:])
        return FeatureMaps(found[0], logits)

    def backbone(self) -> nn.Module:
        """Return nothing: no part is pretrained."""
        return nn.ModuleDict()

    @property
    def architecture(self) -> str:
        """What the network is called."""
        return "BasicUNet of MONAI"

    @property
    def transformers_class(self) -> str | None:
        """None: it is MONAI's."""
        return None

    def write_network(self, folder: Path) -> None:
        """Write config.json and model.safetensors, which wsi-vit alone reads."""
        said = _Saved(options=self.network.options)
        write_own(self.network, folder, self.labels, model_type=_MODEL_TYPE, config=said)


def _basic_unet(options: UnetOptions, classes: int) -> nn.Module:
    try:
        from monai.networks.nets.basic_unet import BasicUNet
    except ImportError as error:
        raise ModelError(
            "A U-Net is made by MONAI, which is not installed here",
            got=str(error),
            remedy="pip install 'monai>=1.6,<2', or choose `kind: segmenter`",
        ) from error
    return BasicUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=classes,
        features=options.features,
        dropout=options.dropout,
        upsample=options.upsample,
    )
