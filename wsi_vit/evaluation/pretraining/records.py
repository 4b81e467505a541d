"""What was found of a pre-trained model, as plain data: its `metrics.json`."""

from pathlib import Path
from typing import Literal

from wsi_vit.evaluation.records import Score
from wsi_vit.evaluation.units import so_many
from wsi_vit.evaluation.words import counted, figure, number
from wsi_vit.section import Section
from wsi_vit.store import canonical_json, write_whole


class PretrainingEvaluation(Section):
    """How well hidden patches of images that were not learnt from are drawn."""

    schema_version: Literal[1] = 1
    task: Literal["pretraining"] = "pretraining"
    split: str
    estimate: str
    """What the figures speak of, such as `unseen patients`."""
    dataset_digest: str
    split_digest: str
    model_digest: str
    resamples: int
    seed: int
    examples: int
    patients: int
    unit: str
    """What the dataset calls those whom `patients` counts, as a plural."""
    hidden_share: float
    """Share of each image's patches that is hidden."""
    error: Score
    """Mean squared error of hidden patches, each normalised to variance 1."""
    mean_colour: Score
    """The same where every hidden patch is drawn in the mean colour of the visible ones."""
    gain: Score
    """`mean_colour` less `error`, on the same patches, with a paired interval."""
    warnings: tuple[str, ...] = ()

    @property
    def beats_trivial(self) -> bool:
        """Whether it draws more than one colour, as far as the figures can tell."""
        least = self.gain.low if self.gain.low is not None else self.gain.value
        return least is not None and least > 0

    def sentence(self) -> str:
        """Return the result in one sentence."""
        images = counted(self.examples, "image")
        which = "unseen" if self.split == "test" else "validation"
        whom = so_many(self.patients, self.unit, which=which)
        verb = "beats" if self.beats_trivial else "does not beat"
        return (
            f"On {images} of {whom}, of which {self.hidden_share:.0%} was hidden, the error is "
            f"{figure(self.error)}: it {verb} the mean colour of what is seen, with "
            f"{number(self.mean_colour.value)}."
        )

    def write(self, path: Path) -> Path:
        """Write canonical JSON, whole or not at all."""
        with write_whole(path) as scratch:
            scratch.write_text(canonical_json(self) + "\n")
        return path


def read_pretraining(path: Path) -> PretrainingEvaluation:
    """Read a `metrics.json` of a pre-training run."""
    return PretrainingEvaluation.model_validate_json(path.read_text())
