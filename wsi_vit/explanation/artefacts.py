"""What picture and slide explanations share: their keys, their files, and testing a map."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.explanation.faithfulness import Faithfulness, judge_map
from wsi_vit.explanation.maps import Explainer
from wsi_vit.explanation.record import FIGURE, MAP, ExplanationRecord
from wsi_vit.explanation.section import FaithfulnessSection
from wsi_vit.models.pixels import fit_images
from wsi_vit.prediction.applied import Pixels
from wsi_vit.store import Recorded

VERSION = 1
STAGE = "explanation"
Progress = Callable[[Literal["explaining", "testing"], int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""
_Record = TypeVar("_Record", bound=ExplanationRecord)


@dataclass(frozen=True, slots=True)
class Explanation(Recorded[_Record]):
    """A finished explanation."""

    @property
    def figure(self) -> Path:
        """The picture beside the map."""
        return self.folder / FIGURE

    @property
    def map(self) -> Path:
        """The raw values."""
        return self.folder / MAP


def silent(_what: str, _done: int, _total: int) -> None:
    """Report no progress."""


def facts_of(record: ExplanationRecord) -> dict[str, Any]:
    """Return what the artefact's manifest says of it."""
    scores = {item.name: item.score for item in record.classes}
    return {"method": record.method, "class": record.explained_class, "scores": scores}


def settings_of(explainer: Explainer, what: Any) -> dict[str, Any]:
    """Return the settings that shape a result, with the method that was chosen."""
    return explainer.section.shaping(what) | {"method": explainer.method}


def judged(
    explainer: Explainer,
    image: Pixels,
    importance: NDArray[np.floating],
    class_id: int,
    progress: Progress = silent,
) -> Faithfulness:
    """Return how a map of a picture (height, width, 3) does, on pixels of the model's input.

    The explainer's section says how it is tested.
    """
    section = explainer.section.faithfulness or FaithfulnessSection()
    model = explainer.applied.model
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    fitted = fit_images(pixels.to(explainer.applied.device), model.input_px)[0]

    def score(images: Tensor) -> Tensor:
        """Return the class's score of each image, (B,); of a model of pixels the mean of them."""
        with torch.inference_mode():
            scores = model.scores(images)[:, class_id]
            return scores if scores.ndim == 1 else scores.mean((1, 2))

    return judge_map(
        score,
        fitted,
        importance,
        section,
        progress=lambda done, total: progress("testing", done, total),
    )
