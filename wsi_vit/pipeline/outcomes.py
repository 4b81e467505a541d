"""What the stages report: small records that travel, never pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from wsi_vit.errors import Reason
from wsi_vit.evaluation.token_learner.records import CHART, PAGE, Comparison
from wsi_vit.section import Section

Progress = Callable[[str, int, int], None]
"""Told what is being done (`stage: detail`), how much of it is done, and how much there is."""

SideName = Literal["without", "learner"]
"""The sides of a comparison: a recipe without its TokenLearner, and with it."""

SIDES: tuple[SideName, ...] = ("without", "learner")


def silent(_what: str, _done: int, _total: int) -> None:
    """Report no progress."""


class SlideOutcome(Section):
    """What became of one slide on its way into a dataset."""

    slide_id: str
    state: Literal["tiled", "reused", "quarantined"]
    reason: Reason | None = None
    message: str = ""
    """For a quarantined slide: what was wrong and what to do."""
    tiles: int = 0
    tiles_folder: Path | None = None
    labels_folder: Path | None = None
    stain_folder: Path | None = None

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return {
            "slide": self.slide_id,
            "state": self.state,
            "tiles": self.tiles,
            "reason": self.reason or "",
            "what to do": self.message,
        }


class Trained(Section):
    """A run that has its model."""

    run: Path
    reused: bool
    """Whether the model was there already."""


class PredictionOutcome(Section):
    """What became of one slide or image that was to be predicted."""

    slide_id: str
    state: Literal["predicted", "reused", "quarantined"]
    reason: Reason | None = None
    message: str = ""
    source: Path | None = None
    """The file that was predicted."""
    folder: Path | None = None
    class_map: Path | None = None
    """Of a slide an OME-Zarr, of a picture an indexed PNG; none where a picture has one class, or a
    tile several labels."""
    record: Path | None = None
    """The JSON that says what was predicted with what."""
    overview: Path | None = None
    comparison: Path | None = None
    """Truth beside prediction, where the cohort has outlines of the slide."""
    shares: dict[str, float] = Field(default_factory=dict)
    """Share of the computed area that each class covers, or each label is in; of a picture the
    scores of its classes, or of the labels that are present."""
    unlike_training: float | None = None
    """Share of a slide's tiles that are unlike the model's training; None where it does not say."""

    @property
    def result(self) -> Path | None:
        """What the next program wants: the class map, or the record where there is none."""
        return self.class_map or self.record

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items() if share)
        if self.unlike_training is not None:
            shares += f"; {self.unlike_training:.0%} unlike the training"
        return {
            "slide": self.slide_id,
            "state": self.state,
            "classes": shares,
            "where, or what to do": self.message or str(self.overview),
        }


class ExplanationOutcome(Section):
    """What became of one slide or picture that was to be explained."""

    slide_id: str
    state: Literal["explained", "reused", "quarantined"]
    reason: Reason | None = None
    message: str = ""
    source: Path
    """The file that was explained."""
    folder: Path | None = None
    figure: Path | None = None
    """The picture beside the map."""
    map: Path | None = None
    """The raw values, a NumPy file."""
    record: Path | None = None
    """The JSON that says what was explained with what, and how to read the map."""
    method: str = ""
    explained_class: str = ""
    scores: dict[str, float] = Field(default_factory=dict)
    """Of each class; of a slide the means over its tiles."""

    @property
    def result(self) -> Path | None:
        """What the next program wants."""
        return self.record

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return {
            "slide": self.slide_id,
            "state": self.state,
            "class": self.explained_class,
            "method": self.method,
            "where, or what to do": self.message or str(self.figure),
        }


class ModelOutcome(Section):
    """A registered version, and what was decided about it."""

    name: str
    version: int
    aliases: tuple[str, ...]
    headline: str
    """The metric that decides, with its 95 % interval."""
    estimate: str
    decision: str
    reason: str

    def spoken(self) -> str:
        """Return it as a sentence."""
        return f"{self.name} version {self.version} is {self.decision}: {self.reason or 'no news'}."

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return {
            "model": self.name,
            "version": self.version,
            "aliases": ", ".join(self.aliases),
            "score (95 % interval)": self.headline,
            "on": self.estimate,
            "decision": f"{self.decision}: {self.reason}" if self.reason else self.decision,
        }


class RunOutcome(Section):
    """What a whole run came to."""

    run: Path
    sentence: str
    """The headline figure in words."""
    model: ModelOutcome
    quarantined: list[str]
    contact_sheets: list[Path] = Field(default_factory=list)
    """The slides on pages, those first that somebody should look at; none without slides."""


class PretrainingOutcome(Section):
    """What a pre-training came to."""

    run: Path
    sentence: str
    """How well it draws what it was not shown."""
    quarantined: list[str]
    contact_sheets: list[Path] = Field(default_factory=list)

    @property
    def weights(self) -> Path:
        """The folder that other recipes begin from."""
        return self.run / "model"

    @property
    def report(self) -> Path:
        """What a person opens."""
        return self.run / "report.html"


class ComparisonOutcome(Section):
    """A comparison, and where it lies."""

    folder: Path
    sentence: str
    reused: bool
    comparison: Comparison

    @property
    def page(self) -> Path:
        """What a person opens."""
        return self.folder / PAGE

    @property
    def chart(self) -> Path:
        """Accuracy against speed."""
        return self.folder / CHART
