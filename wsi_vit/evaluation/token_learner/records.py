"""What a comparison with and without TokenLearner found, as plain data."""

from pathlib import Path
from typing import Literal

from wsi_vit.evaluation.records import Score
from wsi_vit.models.sections import TokenLearnerSection
from wsi_vit.section import Section
from wsi_vit.store import canonical_json

RECORD, CHART, PAGE = "comparison.json", "comparison.png", "comparison.html"
"""What a comparison leaves in its folder."""

MARGIN = 0.02
"""The most accuracy that may be lost, at the lower bound of the interval."""

WITHOUT, WITH = "without TokenLearner", "with TokenLearner"


class Side(Section):
    """One of the two."""

    accuracy: Score
    """Mean over seeds, on the test split."""
    accuracies: tuple[float, ...]
    """Of each seed."""
    steps_per_s: Score
    """Of training; the median over rounds."""
    gflops: float
    """Of one image's forward pass; a multiplication and an addition are two operations."""
    peak_mib: float
    """Memory that training takes, in MiB; `Comparison.memory` says how it is measured."""
    parameters: int
    runs: tuple[str, ...]
    """Folders of the runs, relative to the folder of all runs, a seed each."""


class Comparison(Section):
    """A recipe without and with its TokenLearner."""

    schema_version: Literal[1] = 1
    recipe: str
    token_learner: TokenLearnerSection
    dataset_digest: str
    split_digest: str
    estimate: str
    """What the figures speak of, such as `unseen patients`."""
    unit: str
    """What was kept whole by the split and drawn by the bootstrap, as a plural."""
    units: int
    examples: int
    """Test images."""
    seeds: tuple[int, ...]
    without: Side
    learner: Side
    difference: Score
    """Accuracy with less accuracy without, paired."""
    speed_up: Score
    """Steps a second with over those without; the median over rounds."""
    resamples: int
    rounds: int
    step_images: int
    precision: str
    device: str
    clock: str
    memory: str
    warnings: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether no more than `MARGIN` of accuracy is lost, at the lower bound."""
        return self.difference.low is not None and self.difference.low > -MARGIN

    def sides(self) -> dict[str, Side]:
        """Return both by what they are called."""
        return {WITHOUT: self.without, WITH: self.learner}

    def write(self, path: Path) -> Path:
        """Write canonical JSON."""
        path.write_text(canonical_json(self) + "\n")
        return path


def read_comparison(path: Path) -> Comparison:
    """Read a `comparison.json`."""
    return Comparison.model_validate_json(path.read_text())
