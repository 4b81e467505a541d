"""A trained model, ready to be asked: on its device, with its digest and its tiling."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from wsi_vit.errors import ModelError
from wsi_vit.models.folder import CONFIG, LABELS, PREPROCESSING, WEIGHTS
from wsi_vit.models.load import load_model
from wsi_vit.models.model import Model
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.store import digest_of, file_digest

TILES = "tiles.json"
"""Beside a slide model's weights: the tiling it learnt on, so that it is applied alike."""

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

    def scores(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return the scores of pictures of one size, (B, classes) or (B, classes, H, W).

        Raises:
            ModelError: The scores have another shape, or are not finite.
        """
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            scores = self.model.scores(stacked.to(self.device)).float().cpu().numpy()
        expected = (len(images), len(self.model.labels))
        if self.model.task == "segmentation":
            expected += images[0].shape[:2]
        if scores.shape != expected or not np.isfinite(scores).all():
            raise ModelError(
                "The model's scores cannot be used",
                got=f"{scores.shape}, finite: {bool(np.isfinite(scores).all())}",
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
        ModelError: The folder is no model, is damaged, or its tiling cannot be read.
    """
    model = load_model(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    model.eval()
    return AppliedModel(
        model=model,
        digest=model_digest(folder),
        device=device,
        tiles=tiles or _saved_tiling(folder / TILES),
    )


def model_digest(folder: Path) -> str:
    """Return the sha256 over the files that decide what a saved model says.

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


def _saved_tiling(path: Path) -> TilesSection | None:
    if not path.is_file():
        return None
    try:
        return TilesSection.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ModelError(
            f"The saved tiling does not fit this version ({error.error_count()} values)",
            got=path,
            remedy="Apply the model with the version of wsi-vit that trained it",
        ) from error
