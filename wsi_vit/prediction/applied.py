"""A trained model, ready to be asked: on its device, and with how it is meant to be applied."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from wsi_vit.errors import ModelError
from wsi_vit.models.anomaly.scorer import AnomalyScorer, load_scorer
from wsi_vit.models.averaging import Average, averaged_scores
from wsi_vit.models.folder import CONFIG, LABELS, PREPROCESSING, WEIGHTS
from wsi_vit.models.load import load_model
from wsi_vit.models.model import Model
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.section import Section
from wsi_vit.slides.stain.section import MacenkoStain
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.store import digest_of, file_digest

TILES = "tiles.json"
"""Beside a slide model's weights: the tiling it learnt on, so that it is applied alike."""
PREDICTION = "prediction.json"
"""Beside any model's weights: the settings that it is to be applied with."""
STAIN = "stain.json"
"""Beside a slide model's weights, where slides were brought to a target's stains."""
_Saved = TypeVar("_Saved", bound=Section)

Pixels = NDArray[np.uint8]
"""An RGB picture, shape (height, width, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedModel:
    """A model in evaluation mode."""

    model: Model
    digest: str
    """The identity of its files, 64 hexadecimal digits."""
    device: torch.device
    tiles: TilesSection | None = None
    """How slides were cut for its training; absent for models of plain pictures."""
    stain: MacenkoStain | None = None
    """How the stains of slides were treated; absent: they were left as they are."""
    section: PredictionSection = field(default_factory=PredictionSection)
    """How it is meant to be applied."""
    anomaly: AnomalyScorer | None = None
    """Tells how unlike the training a tile of a slide is; absent: nobody asked for it."""

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Scores from which on each of several labels is present; None of other models."""
        return getattr(self.model, "thresholds", None)

    def tiling(self) -> TilesSection:
        """Return at which resolution and tile size slides are read.

        Raises:
            ModelError: The model was not trained on slides.
        """
        if self.tiles is None:
            raise ModelError(
                "The model does not say at which resolution it sees a slide",
                got=f"no {TILES} beside its weights",
                remedy="Predict pictures with it, or name a model that was trained on slides",
            )
        return self.tiles

    def scores(self, images: Sequence[Pixels], *, average: Average = "none") -> NDArray[np.float32]:
        """Return the scores of pictures of one size, (B, classes) or (B, classes, H, W).

        Raises:
            ModelError: The scores have another shape, or are not finite.
        """
        with torch.inference_mode():
            return self._checked(images, average).cpu().numpy()

    def judged(
        self, images: Sequence[Pixels], *, average: Average = "none"
    ) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """Return the scores of pictures of one size, and how unlike the training each is, (B,).

        The second is None of a model without an anomaly score. It is told from the picture as it
        stands, also where scores are averaged over views.

        Raises:
            ModelError: The scores have another shape, or are not finite.
        """
        if self.anomaly is None:
            return self.scores(images, average=average), None
        model: Any = self.model
        with model.seen_by_head() as seen:
            scores = self.scores(images, average=average)
        return scores, self.anomaly.scores(seen[0])  # of all views the upright one comes first

    def class_ids(
        self, images: Sequence[Pixels], *, average: Average = "none"
    ) -> NDArray[np.uint8]:
        """Return the training id of each pixel of pictures of one size, (B, H, W).

        The best class is found where the scores are: far fewer bytes leave the device.

        Raises:
            ModelError: The scores have another shape, or are not finite.
        """
        with torch.inference_mode():
            return self._checked(images, average).argmax(1).to(torch.uint8).cpu().numpy()

    def _checked(self, images: Sequence[Pixels], average: Average) -> Tensor:
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        scores = averaged_scores(self.model, stacked.to(self.device), average)
        expected = (len(images), len(self.model.labels))
        if self.model.task == "segmentation":
            expected += images[0].shape[:2]
        finite = bool(torch.isfinite(scores).all())
        if scores.shape != expected or not finite:
            raise ModelError(
                "The model's scores cannot be used",
                got=f"{tuple(scores.shape)}, finite: {finite}",
                known=[f"finite {expected}"],
                remedy="Train it again; its loss was probably not finite",
            )
        return scores


def load_applied(folder: Path, *, tiles: TilesSection | None = None) -> AppliedModel:
    """Load a saved model for prediction, on the GPU where there is one.

    Args:
        folder: A run's model/ folder.
        tiles: Cut slides like this, whatever the folder says.

    Raises:
        ModelError: The folder is no model, or is damaged, what lies beside its weights included;
            or it was pre-trained and tells no classes apart.
    """
    model = load_model(folder)
    if model.task == "pretraining":
        raise ModelError(
            "This model was pre-trained: it tells no classes apart",
            got=folder,
            remedy="Fine-tune from it first (`wsi-vit run RECIPE --start FOLDER`)",
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    model.eval()
    return AppliedModel(
        model=model,
        digest=model_digest(folder),
        device=device,
        tiles=tiles or _saved(TilesSection, folder / TILES),
        stain=_saved(MacenkoStain, folder / STAIN),
        section=_saved(PredictionSection, folder / PREDICTION) or PredictionSection(),
        anomaly=load_scorer(folder),
    )


def model_digest(folder: Path) -> str:
    """Return the sha256 over the files that decide what a saved model says of given pixels.

    How pixels are read and scores put together (tiling, settings) is recorded beside it.

    Raises:
        ModelError: One of them is missing.
    """
    names = (CONFIG, WEIGHTS, LABELS, PREPROCESSING)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"Not a saved model: no {', '.join(missing)}",
            got=folder,
            remedy="Name a run's model/ folder",
        )
    return digest_of({name: file_digest(folder / name) for name in names})


def _saved(kind: type[_Saved], path: Path) -> _Saved | None:
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        faults = (".".join(map(str, fault["loc"])) or "all of it" for fault in error.errors())
        raise ModelError(
            f"{path.name} beside the weights does not fit this version ({', '.join(faults)})",
            got=path,
            remedy="Apply the model with the version of wsi-vit that trained it",
        ) from error
