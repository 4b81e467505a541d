"""The settings of an evaluation."""

from pydantic import Field

from wsi_vit.models.anomaly.section import AnomalySection
from wsi_vit.section import Section


class EvaluationSection(Section):
    """How a model is measured; nothing here changes the model."""

    resamples: int = Field(default=10_000, ge=100, le=1_000_000)
    """Bootstrap resamples over patients."""
    seed: int = Field(default=0, ge=0)
    """Decides the resamples and which training examples the trivial rules learn from."""
    batch_size: int = Field(default=32, ge=1)
    baseline_examples: int = Field(default=2000, ge=1)
    """At most this many training examples teach the trivial rules."""
    anomaly: AnomalySection | None = None
    """How a classifier notices what is unlike its training; kept beside the model, whose
    predictions of slides then say it of every tile. Absent: they do not."""
