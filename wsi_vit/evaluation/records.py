"""What an evaluation found, as plain data: `metrics.json` is one `Evaluation`."""

import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.datasets.card import PATIENTS
from wsi_vit.datasets.example import Task
from wsi_vit.section import Section
from wsi_vit.store import canonical_json, write_whole

REGIONS = "regions of one patient"
"""The one estimate that speaks of nobody unseen."""

UNSEEN_SITES = {"unseen sites": "sites", "unseen site": "one site"}
"""Estimates on whole hospitals, or video sequences, that training has not seen, and their words."""

Estimate = Annotated[str, Field(pattern=rf"^(unseen .+|{REGIONS})$")]
"""What the figures speak of: `unseen patients`, `unseen sites`, `unseen runs of five frames` (what
the dataset calls its units), or other parts of one patient the model did see."""

DefinitionName = Literal["ours", "background as a class", "true background pixels left out"]
"""How background is treated in a segmenter's means."""

THRESHOLD = "threshold"
"""The figure of a label that is no score of it: from where on it is called present."""

Table = tuple[tuple[int, ...], ...]
"""Confusion counts as plain integers, indexed [truth][prediction]."""


class Score(Section):
    """One figure with its 95 % interval; None where it cannot be said."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None


class ClassScores(Section):
    """The figures of one class."""

    name: str
    colour: str
    support: int
    """Tiles (classification) or pixels (segmentation) of the truth; tiles that show a label."""
    scores: tuple[Score, ...]

    def score(self, name: str) -> Score:
        """Return the figure of this name."""
        return next(score for score in self.scores if score.name == name)


class Level(Section):
    """The figures over tiles, slides or patients."""

    level: Literal["tile", "slide", "patient"]
    items: int
    how: str
    """How a tile's result becomes the result of this level, in words."""
    scores: tuple[Score, ...]
    counts: Table | None = None
    """Confusion counts of this level; None where it is a mean of scores."""

    def score(self, name: str) -> Score:
        """Return the figure of this name."""
        return next(score for score in self.scores if score.name == name)


class GroupScore(Section):
    """The headline metric of one slide or one patient."""

    name: str
    items: int
    value: float | None


class Bin(Section):
    """One bar of the reliability diagram."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class Calibration(Section):
    """Whether a score of 0.9 is right nine times in ten."""

    ece: float
    brier: float
    bins: tuple[Bin, ...]


class Curve(Section):
    """A thinned ROC curve of one class against the rest."""

    name: str
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


class RecallCurve(Section):
    """A thinned precision-recall curve of one label."""

    name: str
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    at: tuple[float, float] | None
    """Recall and precision at the label's threshold; None where nothing is called so."""


class Baseline(Section):
    """What a trivial rule reaches on the same examples."""

    name: str
    how: str
    value: float | None
    """Its value of the headline metric."""


class Definition(Section):
    """The same counts under one definition of the figures."""

    name: DefinitionName
    how: str
    scores: tuple[Score, ...]
    """`mean_accuracy`, `mean_iou` and `pixel_accuracy`."""
    classes: tuple[Score, ...]
    """The IoU of each class, by its name, in training-id order."""


class AnomalyFound(Section):
    """How a score behaves that is to notice what the model does not know."""

    score: str
    limit: float
    """99 of 100 training examples score less, each by a score fitted without its patient."""
    examples: int
    """Training examples that it was fitted on."""
    beyond: Score
    """Share of this split's examples beyond the limit; 0.01 is what is expected."""
    unseen: tuple[Score, ...]
    """For each class, how well its examples rank above the others' by a score that was fitted
    without it (AUROC); none where that cannot be said."""
    classes_known: bool
    """Whether the network, if not the score, learnt from the class: then `unseen` flatters."""


class Evaluation(Section):
    """Everything that is said of a model on one split; the same inputs give the same bytes."""

    schema_version: Literal[1] = 1
    task: Task
    split: str
    estimate: Estimate
    dataset_digest: str
    split_digest: str
    model_digest: str | None
    resamples: int
    seed: int
    examples: int
    slides: int
    patients: int
    unit: str = PATIENTS
    """What the dataset calls those whom `patients` counts, as a plural."""
    background: str | None
    """The class that the mean IoU leaves out; None where it leaves out none."""
    headline: Score
    interval_reason: str | None
    """Why there are no intervals; None where there are."""
    beats_trivial: bool
    levels: tuple[Level, ...]
    classes: tuple[ClassScores, ...]
    definitions: tuple[Definition, ...] = ()
    """Ours first, then those of others that give other figures; none where all agree."""
    per_slide: tuple[GroupScore, ...]
    per_patient: tuple[GroupScore, ...]
    calibration: Calibration | None = None
    roc: tuple[Curve, ...] = ()
    precision_recall: tuple[RecallCurve, ...] = ()
    """Where an example has several labels."""
    baselines: tuple[Baseline, ...]
    anomaly: AnomalyFound | None = None
    """None where the recipe asks for no anomaly score."""
    warnings: tuple[str, ...] = ()

    @property
    def example_word(self) -> Literal["image", "tile"]:
        """What an example is: a picture of its own, or a tile of a slide."""
        return "image" if self.slides == self.examples else "tile"

    def level(self, name: Literal["tile", "slide", "patient"]) -> Level:
        """Return the figures of one level."""
        return next(level for level in self.levels if level.level == name)

    def write(self, path: Path) -> Path:
        """Write canonical JSON, whole or not at all."""
        with write_whole(path) as scratch:
            scratch.write_text(canonical_json(self) + "\n")
        return path


def read_evaluation(path: Path) -> Evaluation:
    """Read a `metrics.json`."""
    return Evaluation.model_validate_json(path.read_text())


def tidy(value: float | NDArray[np.float64]) -> float | None:
    """Return a float rounded to six decimals, None for NaN.

    JSON has no NaN, and the last bits of a sum depend on the order of its parts.
    """
    number = float(value)
    return None if math.isnan(number) else round(number, 6)


def table_of(counts: NDArray[np.int64]) -> Table:
    """Return confusion counts as plain integers."""
    return tuple(tuple(int(cell) for cell in row) for row in counts)
