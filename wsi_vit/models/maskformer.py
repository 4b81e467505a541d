"""One class a pixel, by mask classification: MaskFormer and Mask2Former.

Each of a few queries predicts a class and a mask; a pixel's score for a class is the sum over
queries of class times mask probability (Cheng et al., 2021, section 3.4). Background is a class
like any other here: "no object" is what unused queries say.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from pydantic import Field, ValidationError
from torch import Tensor, nn

from wsi_vit.datasets.example import Task
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import (
    load_network,
    normalisation_of,
    quiet,
    read_config,
)
from wsi_vit.models.criterion import (
    MaskCriterion,
    Prediction,
    Sampling,
    cross_entropy_costs,
    focal_costs,
)
from wsi_vit.models.mask_config import MaskOptions, new_mask_config
from wsi_vit.models.model import Batch
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.pixels import IMAGENET_MEAN, IMAGENET_STD, Channels, Preprocessing
from wsi_vit.models.start import ConfigStart, HubStart, Start
from wsi_vit.section import Section

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

STEP_PX = 32
"""The deepest feature map is this much smaller than the image."""
_FLOOR = 1e-8
"""Added to every class's score, so that a pixel no query claims is undecided, not 0 / 0."""

Architecture = Literal["maskformer", "mask2former"]


class MaskFormerSection(Section):
    """A mask classifier: where its weights come from and what it is made of."""

    kind: Literal["maskformer"] = "maskformer"
    architecture: Architecture = "maskformer"
    start: Start = HubStart(id="facebook/maskformer-swin-base-ade")
    """Options of a configuration: those of `MaskOptions`."""
    input_px: int = Field(default=512, ge=STEP_PX, le=4096, multiple_of=STEP_PX)
    mean: Channels | None = None
    """Absent: what the checkpoint was trained with, or ImageNet's."""
    std: Channels | None = None

    def build(self, labels: LabelMap, task: Task) -> "MaskFormer":
        """Make the model, with first weights loaded or drawn from torch's global generator.

        Raises:
            ModelError: Weights that are missing, pickled, damaged or do not fit; another task.
        """
        _refuse_task(task)
        if isinstance(self.start, ConfigStart):
            return self._drawn(self.start, labels)
        folder = self.start.folder()
        config = read_config(folder, labels=labels)
        _refuse_architecture(config, self.architecture)
        _learn_from_last_layer(config)
        network = load_network(
            network_class(self.architecture),
            folder,
            config=config,
            may_differ=is_of_the_classes,
            attn_implementation="eager",
        )
        return self.assemble(network, labels, self._preprocessing(*normalisation_of(folder)))

    def assemble(
        self, network: "PreTrainedModel", labels: LabelMap, preprocessing: Preprocessing
    ) -> "MaskFormer":
        """Put a model around a network."""
        return MaskFormer(network, section=self, labels=labels, preprocessing=preprocessing)

    def _drawn(self, start: ConfigStart, labels: LabelMap) -> "MaskFormer":
        try:
            options = MaskOptions.model_validate(start.options)
        except ValidationError as error:
            raise ModelError(
                f"Options that do not fit ({_told(error)})",
                got=start.options,
                known=MaskOptions.model_fields,
                remedy="Correct `start.options`",
            ) from error
        with quiet():
            config = new_mask_config(
                self.architecture, options, labels=labels, input_px=self.input_px
            )
            network = network_class(self.architecture)._from_config(
                config, attn_implementation="eager"
            )
        _tell_queries_apart(network)
        return self.assemble(network, labels, self._preprocessing(IMAGENET_MEAN, IMAGENET_STD))

    def _preprocessing(self, mean: Channels, std: Channels) -> Preprocessing:
        return Preprocessing(input_px=self.input_px, mean=self.mean or mean, std=self.std or std)


class MaskFormer(NetworkModel):
    """A mask classifier for semantic segmentation; scores are (B, classes, H, W)."""

    section: MaskFormerSection

    def __init__(
        self,
        network: "PreTrainedModel",
        *,
        section: MaskFormerSection,
        labels: LabelMap,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(
            network,
            section=section,
            labels=labels,
            task="segmentation",
            preprocessing=preprocessing,
        )
        self.criterion = criterion_of(network.config)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch; pixels with id 255 are left out (see `criterion`).

        Mask2Former's loss looks at sampled points: in training they differ from call to call, in
        evaluation they are the same each time.
        """
        layers = self._predict(self._pixels(batch["images"]))
        ids = self._targets(batch["targets"])
        with torch.autocast(ids.device.type, enabled=False):
            return self.criterion(layers, ids, self._class_weights, generator=self._generator())

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Return class scores of uint8 images (B, 3, H, W): (B, classes, H, W) float32.

        They sum to 1 over classes; their argmax is transformers' semantic map.
        """
        last = self._predict(self._pixels(images))[0]
        with torch.autocast(last.masks.device.type, enabled=False):
            return _scores(Prediction(*(part.float() for part in last)), images.shape[-2:])

    def backbone(self) -> nn.Module:
        """Return the image encoder."""
        return self.network.base_model.get_submodule("pixel_level_module.encoder")

    def _predict(self, pixels: Tensor) -> list[Prediction]:
        """Return what the decoder's layers say, the last layer first."""
        output = self.network(pixels, output_auxiliary_logits=self._learns_from_all_layers())
        last = Prediction(output.class_queries_logits, output.masks_queries_logits)
        earlier = output.auxiliary_logits or []
        return [
            last,
            *(Prediction(e["class_queries_logits"], e["masks_queries_logits"]) for e in earlier),
        ]

    def _learns_from_all_layers(self) -> bool:
        return torch.is_grad_enabled() and bool(self.network.config.use_auxiliary_loss)

    def _generator(self) -> torch.Generator | None:
        if self.training or not self.criterion.sampling:
            return None
        return torch.Generator(self._class_weights.device).manual_seed(0)


def _scores(prediction: Prediction, size: Sequence[int]) -> Tensor:
    """Return what queries claim for each class, normalised, (B, classes, *size)."""
    of_class = prediction.classes.softmax(-1)[..., :-1]
    claimed = torch.einsum("bqc,bqhw->bchw", of_class, prediction.masks.sigmoid())
    # Upsampling the few classes is cheaper than the many queries, and commutes with their sum.
    full = F.interpolate(claimed, size=tuple(size), mode="bilinear").add_(_FLOOR)
    return full / full.sum(1, keepdim=True)


def criterion_of(config: Any) -> MaskCriterion:
    """Return the criterion that a configuration asks for, with its weights."""
    if config.model_type == "maskformer":
        return MaskCriterion(
            costs=focal_costs,
            class_weight=config.cross_entropy_weight,
            mask_weight=config.mask_weight,
            dice_weight=config.dice_weight,
            match_class_weight=1.0,
            no_object_weight=config.no_object_weight,
        )
    return MaskCriterion(
        costs=cross_entropy_costs,
        class_weight=config.class_weight,
        mask_weight=config.mask_weight,
        dice_weight=config.dice_weight,
        match_class_weight=config.class_weight,
        no_object_weight=config.no_object_weight,
        sampling=Sampling(
            points=config.train_num_points,
            oversample=config.oversample_ratio,
            uncertain=config.importance_sample_ratio,
        ),
    )


def is_of_the_classes(key: str) -> bool:
    """Say whether a tensor's shape depends on the number of classes."""
    return key.startswith("class_predictor.") or key == "criterion.empty_weight"


def network_class(architecture: Architecture) -> Any:
    """Return transformers' class of an architecture."""
    import transformers

    names = {
        "maskformer": "MaskFormerForInstanceSegmentation",
        "mask2former": "Mask2FormerForUniversalSegmentation",
    }
    return getattr(transformers, names[architecture])


def _tell_queries_apart(network: "PreTrainedModel") -> None:
    """Draw query embeddings and the decoder's matrices as DETR and the authors' MaskFormer do.

    That is: embeddings with standard deviation 1, matrices by Glorot and Bengio (2010).
    transformers draws MaskFormer's with 0.02, and there all queries get the same faint answer from
    the image: dropout alone tells them apart, and in evaluation they collapse.
    """
    module = network.base_model.get_submodule("transformer_module")
    nn.init.normal_(module.get_parameter("queries_embedder.weight"))
    for parameter in module.get_submodule("decoder").parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)


def _learn_from_last_layer(config: Any) -> None:
    """Switch deep supervision off where transformers' MaskFormer cannot do it.

    Its `get_logits` stacks hidden states that its `forward` has dropped (5.17 to 5.23).
    Mask2Former's works.
    """
    if config.model_type == "maskformer":
        config.use_auxiliary_loss = False


def _refuse_architecture(config: "PreTrainedConfig", architecture: Architecture) -> None:
    if config.model_type != architecture:
        raise ModelError(
            "The checkpoint is of another architecture",
            got=config.model_type,
            known=[architecture],
            remedy="Set `architecture` to the checkpoint's, or name another checkpoint",
        )


def _refuse_task(task: Task) -> None:
    if task != "segmentation":
        raise ModelError(
            "A mask classifier gives one class a pixel",
            got=f"task {task}",
            known=["segmentation"],
            remedy="Choose `kind: classifier` for whole images",
        )


def _told(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
