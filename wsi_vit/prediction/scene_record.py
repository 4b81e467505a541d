"""What is written of a predicted picture: its JSON, and the outcome that is handed on."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.labels import LabelMap
from wsi_vit.prediction.pictures import Photograph
from wsi_vit.prediction.record import ModelFacts, Provenance
from wsi_vit.section import Section
from wsi_vit.store import file_digest


class ImageOutcome(Section):
    """What became of one picture."""

    path: Path
    state: Literal["predicted", "reused", "refused"]
    message: str = ""
    """For a refused picture: what was wrong and what to do."""
    record: Path | None = None
    """Its JSON; the pictures lie beside it."""
    class_map: Path | None = None
    """Its class map, where the model segments."""
    overlay: Path | None = None
    shares: dict[str, float] = Field(default_factory=dict)
    """Share of the picture that each class covers; for classification the scores, and of several
    labels the scores of those that are present."""


class ImageFacts(Section):
    """The picture that was predicted."""

    file: str
    """Name without folder."""
    sha256: str
    width: int
    height: int
    """Of the pixels as the file stores them, which are those of the class map."""
    orientation: int
    """How they lie, as EXIF counts: 1 upright. The model saw the picture upright."""


class SceneQuestion(Section):
    """All that decides the prediction of a picture; the same question has the same answer."""

    image: ImageFacts
    model: ModelFacts
    settings: dict[str, Any]


class SceneClass(Section):
    """One class, and how much of it was found."""

    export_id: int
    """Its number in the class map and in the legend."""
    name: str
    colour: str
    share: float | None = None
    """Of the picture's pixels, where the model segments."""
    score: float | None = None
    """Of the picture, where the model classifies, or tells several labels."""
    threshold: float | None = None
    """The score from which on a label is present."""


class SceneRecord(SceneQuestion):
    """The JSON beside a predicted picture."""

    classes: tuple[SceneClass, ...]
    """In training-id order."""
    label: str | None = None
    """The best class, where the model classifies."""
    export_id: int | None = None
    score: float | None = None
    """Its export id and score."""
    present: tuple[str, ...] | None = None
    """The labels that it shows, where the model tells several; there may be none."""
    ids: str = "export ids in the class map"
    files: dict[str, str]
    """Name and sha256 of each picture written beside this record."""
    provenance: Provenance

    def answers(self, question: SceneQuestion) -> bool:
        """Say whether this is the answer to a question."""
        return all(getattr(self, name) == value for name, value in question)

    @property
    def shares(self) -> dict[str, float]:
        """Share or score of each class, by name; of several labels those that are present."""
        kept = [item for item in self.classes if self.present is None or item.name in self.present]
        return {item.name: item.share or item.score or 0.0 for item in kept}


def image_facts(path: Path, photograph: Photograph) -> ImageFacts:
    """Describe a picture as its file stores it.

    Raises:
        OSError: The file cannot be read.
    """
    height, width = photograph.as_stored(photograph.pixels[..., 0]).shape
    return ImageFacts(
        file=path.name,
        sha256=file_digest(path),
        width=width,
        height=height,
        orientation=photograph.orientation,
    )


def scene_classes(
    labels: LabelMap, values: NDArray[np.floating], kind: Literal["share", "score"]
) -> tuple[SceneClass, ...]:
    """Return one entry a class with its share or its score, (classes,)."""
    return tuple(
        SceneClass.model_validate(
            {
                "export_id": export_id,
                "name": item.name,
                "colour": item.colour,
                kind: round(float(value), 6),
            }
        )
        for export_id, item, value in zip(labels.export_ids, labels.classes, values, strict=True)
    )
