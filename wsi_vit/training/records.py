"""What a run says about itself: small records for the journal, the checkpoints and the screen."""

from pydantic import Field

from wsi_vit.section import Section
from wsi_vit.training.section import Metric


class Validation(Section):
    """What one pass over the validation split found."""

    loss: float
    """Mean loss over the examples."""
    metric: Metric
    value: float | None
    """The metric that selects; None where nothing can be counted."""
    counts: tuple[tuple[int, ...], ...]
    """Confusion counts [truth][prediction], of images or of pixels at the model's size. Of several
    labels an image a row a label, had 0.5 been its threshold: rightly absent, called present by
    mistake, missed, rightly present."""

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: the metric first, then the lower loss."""
        return (-1.0 if self.value is None else self.value, -self.loss)


class Learns(Section):
    """How much of a model learns."""

    parameters: int
    trained: int

    def spoken(self) -> str:
        """Return it in words: `36,864 of 5,524,416 parameters learn (0.667 %)`."""
        share = 100 * self.trained / self.parameters
        return f"{self.trained:,} of {self.parameters:,} parameters learn ({share:.3g} %)"


class Skipped(Section):
    """A step that was left out after a rollback, because its loss was not finite."""

    epoch: int
    step: int
    """Of the epoch, from 1."""
    keys: tuple[str, ...]
    """The examples of its batch."""


class Step(Section):
    """One step of the optimiser, for a progress bar; numbers count from 1."""

    epoch: int
    step: int
    """Of the whole run."""
    steps: int
    """Of the whole run, if it does not stop early."""
    loss: float
    grad_norm: float
    """Before clipping; not finite where fp16 skipped the step."""
    learning_rate: float
    images_per_s: float
    """Since this process began to train."""
    seconds_left: float
    """For the steps that remain, at that pace, without validation."""


class Epoch(Section):
    """One pass over the training split, and what it achieved."""

    number: int
    """From 1."""
    step: int
    """Steps of the run so far."""
    train_loss: float
    """Mean over the examples, while learning, augmented."""
    validation: Validation
    best: bool
    """Whether no epoch before was as good."""
    learning_rate: float
    """Of the last step."""
    grad_norm: float
    """Mean over the steps, before clipping."""
    seconds: float
    """Training and validation, without checkpoints."""
    images_per_s: float
    """Training only."""
    data_wait_s: float
    """Time in which the model waited for images, in training and validation."""
    device_busy_s: float = 0.0
    """Time in which the device worked, in training and validation; 0 in records of old."""
    step_images: int
    """Images a step of the optimiser."""
    micro_batch: int
    """Images at once on the device when the epoch ended; less than asked for where memory is."""
    device: str
    precision: str
    """What forward passes were computed in: fp32 where a processor has no kernels for bf16."""
    skipped: tuple[Skipped, ...] = ()
    """Steps of the run so far that were left out."""
    shown: dict[str, int] = Field(default_factory=dict)
    """Images in which the epoch showed each class, repeats counted; empty where the dataset has not
    counted its classes and nothing asked for it."""

    @property
    def accumulate(self) -> int:
        """Forward passes a step."""
        return -(-self.step_images // self.micro_batch)

    @property
    def data_wait_share(self) -> float:
        """Share of the epoch in which the model waited for images."""
        return self.data_wait_s / self.seconds if self.seconds else 0.0

    @property
    def device_busy_share(self) -> float:
        """Share of the epoch in which the device worked."""
        return self.device_busy_s / self.seconds if self.seconds else 0.0
