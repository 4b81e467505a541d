"""What all mask classifiers share: the loss, the scores, what is one true mask.

Each of a few queries predicts a class and a mask; a pixel's score for a class is the sum over
queries of class times mask probability (Cheng et al., 2021, section 3.4). Background is a class
like any other here: "no object" is what unused queries say.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor

from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.criterion import (
    MaskCriterion,
    Prediction,
    Sampling,
    cross_entropy_costs,
    focal_costs,
)
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.preprocessing import Preprocessing
from wsi_vit.models.sections import MaskSection
from wsi_vit.models.segments import segments_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FLOOR = 1e-8
"""Added to every class's score, so that a pixel no query claims is undecided, not 0 / 0."""


class MaskClassifier(NetworkModel):
    """A mask classifier for semantic segmentation; scores are (B, classes, H, W)."""

    section: MaskSection

    def __init__(
        self,
        network: "PreTrainedModel",
        *,
        section: MaskSection,
        labels: LabelMap,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(network, section=section, labels=labels, preprocessing=preprocessing)
        self.criterion = criterion_of(network.config)

    def answer(self, images: Tensor) -> list[Prediction]:
        """Return what the layers say of uint8 images (B, 3, H, W), the last first."""
        return self._predict(self._pixels(images))

    def loss_of(self, answer: list[Prediction], targets: Tensor) -> Tensor:
        """Return the mean loss of a batch; pixels with id 255 are left out (see `criterion`).

        Where the loss looks at sampled points, they differ from call to call in training, and are
        the same each time in evaluation.
        """
        truth = segments_of(
            self._targets(targets),
            self.section.targets,
            classes=len(self.labels),
            background=self.labels.background_id,
        )
        with torch.autocast(truth.maps.device.type, enabled=False):
            return self.criterion(answer, truth, self._class_weights, generator=self._generator())

    def scores_of(self, answer: list[Prediction], images: Tensor) -> Tensor:
        """Return class scores (B, classes, H, W), float32, at the size of the images.

        They sum to 1 over classes; their argmax is transformers' semantic map.
        """
        last = answer[0]
        with torch.autocast(last.masks.device.type, enabled=False):
            return _scores(Prediction(*(part.float() for part in last)), images.shape[-2:])

    @abstractmethod
    def _predict(self, pixels: Tensor) -> list[Prediction]:
        """Return what the layers say, the last first; the earlier ones where it is learnt from."""

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


def refuse_few_queries(queries: int, labels: LabelMap) -> None:
    """Refuse fewer queries than classes.

    Raises:
        ModelError: Some classes could never be found.
    """
    if queries < len(labels):
        raise ModelError(
            "Fewer queries than classes: some could never be found",
            got=f"{queries} queries for {len(labels)} classes",
            remedy="Set `queries` to twice the number of classes or more",
        )
