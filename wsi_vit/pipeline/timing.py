"""Where the time of a training went, from its journal."""

from pathlib import Path

from wsi_vit.pipeline.run_folder import RunPlace
from wsi_vit.section import Section
from wsi_vit.tracking.journal import EPOCH
from wsi_vit.training.records import Epoch


class TimeSpent(Section):
    """The time of all epochs of a run, validation included, checkpoints not."""

    seconds: float
    data_wait: float
    """Share of it in which the model waited for images."""
    device_busy: float
    """Share of it in which the device worked; what is left is neither."""

    def spoken(self) -> str:
        """Return it as a sentence."""
        return (
            f"Training took {self.seconds:.0f} s: data_wait {self.data_wait:.1%}, "
            f"device_busy {self.device_busy:.1%}."
        )


def time_spent(run: Path) -> TimeSpent | None:
    """Return where the time of a run went; None where no epoch of it is finished.

    Raises:
        StoreError: The run's journal is damaged.
    """
    records = RunPlace(run).journal.read()
    # An epoch may be told twice, by two attempts: the last telling is the one that counted.
    epochs = {r.payload["number"]: Epoch.model_validate(r.payload)
              for r in records if r.kind == EPOCH}.values()  # fmt: skip
    seconds = sum(epoch.seconds for epoch in epochs)
    if not seconds:
        return None
    return TimeSpent(
        seconds=seconds,
        data_wait=sum(epoch.data_wait_s for epoch in epochs) / seconds,
        device_busy=sum(epoch.device_busy_s for epoch in epochs) / seconds,
    )
