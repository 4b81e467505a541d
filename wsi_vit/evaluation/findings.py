"""What all tasks hand to the record: the figures, and what they rest on."""

from dataclasses import dataclass
from typing import Literal, Protocol

from wsi_vit.datasets.example import Task
from wsi_vit.evaluation.inference import CountedMasks, ScoredLabels, ScoredTiles, SplitExamples
from wsi_vit.evaluation.intervals import PatientDraws, reason_for_none
from wsi_vit.evaluation.records import (
    Baseline,
    Calibration,
    ClassScores,
    Curve,
    Definition,
    GroupScore,
    Level,
    RecallCurve,
)
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.labels import LabelMap

SplitName = Literal["train", "validation", "test"]


class MeasuredSet(Protocol):
    """What the evaluation needs of a dataset; `datasets.reading.TrainingSet` has it."""

    @property
    def digest(self) -> str:
        """Identity of the dataset."""
        ...

    @property
    def split_digest(self) -> str:
        """Identity of its splits."""
        ...

    @property
    def estimate(self) -> str:
        """What figures on its test split speak of, as `records.Estimate` spells it."""
        ...

    @property
    def unit(self) -> str:
        """What it calls the units that were split, as a plural: `patients`."""
        ...

    @property
    def labels(self) -> LabelMap:
        """Its classes."""
        ...

    @property
    def task(self) -> Task:
        """What its targets are."""
        ...

    def examples(self, split: SplitName) -> SplitExamples:
        """Return one split."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything measured on one split."""

    found: ScoredTiles | CountedMasks | ScoredLabels
    headline: str
    """The name of the metric that is quoted first."""
    levels: tuple[Level, ...]
    classes: tuple[ClassScores, ...]
    definitions: tuple[Definition, ...] = ()
    per_slide: tuple[GroupScore, ...]
    per_patient: tuple[GroupScore, ...]
    baselines: tuple[Baseline, ...]
    calibration: Calibration | None = None
    roc: tuple[Curve, ...] = ()
    precision_recall: tuple[RecallCurve, ...] = ()
    notes: tuple[str, ...] = ()


def draws_for(
    patients: tuple[str, ...], dataset: MeasuredSet, section: EvaluationSection
) -> PatientDraws | None:
    """Return the resamples of these patients, None where no interval can be given."""
    if reason_for_none(patients, estimate=dataset.estimate, unit=dataset.unit):
        return None
    return PatientDraws(patients, resamples=section.resamples, seed=section.seed)
