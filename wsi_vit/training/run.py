"""Where a run stands, and how that is kept, found again and rolled back."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.errors import Stopped, TrainingError
from wsi_vit.training.batches import (
    BatchReader,
    Loaded,
    balanced_weights,
    count_targets,
    known_counts,
    known_presence,
    positive_weights,
    read_presence,
)
from wsi_vit.training.checkpoints import (
    Checkpoint,
    RunState,
    forget_after,
    keep_as_best,
    load_weights,
    newest_valid,
    save_checkpoint,
)
from wsi_vit.training.engine import Engine, NotFiniteError
from wsi_vit.training.order import EpochOrder, repeat_factors
from wsi_vit.training.pace import Pace
from wsi_vit.training.randomness import random_state, restore_random_state, seed_everything
from wsi_vit.training.records import Epoch, Skipped, Step, Validation

_ROLLBACKS = 2
"""A loss that is not finite for the third time is no accident."""


class Run:
    """A training run: an engine, its state, and the folder of its checkpoints."""

    def __init__(
        self, engine: Engine, folder: Path, *, fingerprint: str, images: BatchReader
    ) -> None:
        self.engine, self.folder, self.training = engine, folder, engine.training
        self.pace = Pace(engine.device)
        self._counts = _counts(images, engine)
        self._weights = _class_weights(images, engine, self._counts)
        factors = np.ones(len(images))
        if self._counts is not None and self.training.sampling == "rare_classes":
            factors = repeat_factors(self._counts)
        self.order = EpochOrder(factors, seed=self.training.seed, reading=self.training.reading)
        self.steps_per_epoch = -(-len(self.order) // self.training.step_images)
        self.state = RunState(fingerprint=fingerprint, micro_batch=engine.micro_batch)
        self._began: tuple[float, int] | None = None

    @property
    def steps(self) -> int:
        """Steps of the whole run, if it does not stop early."""
        return self.steps_per_epoch * self.training.epochs

    @property
    def step(self) -> int:
        """Steps that are done."""
        return (self.state.epoch - 1) * self.steps_per_epoch + self.state.step

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or none got better for as long as the recipe bears."""
        best, patience = self.state.best, self.training.early_stop_epochs
        stale = best is not None and patience and len(self.state.epochs) - best.number >= patience
        return self.state.epoch > self.training.epochs or bool(stale)

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint within the epoch is due."""
        every = self.training.checkpoint_every_steps
        return every is not None and self.state.step % every == 0

    def resume(self) -> None:
        """Go on from the newest valid checkpoint of this run; without one, begin.

        Raises:
            TrainingError: The folder belongs to another run.
        """
        found = newest_valid(self.folder)
        if found is None:
            forget_after(self.folder, None)
            seed_everything("start", self.training.seed)
            return
        if found.state.fingerprint != self.state.fingerprint:
            raise TrainingError(
                "These checkpoints belong to a run with other settings, data or model",
                got=found.folder,
                remedy="Train into another folder, or delete these checkpoints",
            )
        forget_after(self.folder, found)
        self._take_back(found)
        epochs = self.state.epochs
        if epochs and epochs[-1].best and self.state.step == 0:
            keep_as_best(found.folder)  # a kill may have come between the two

    def weigh_classes(self) -> None:
        """Tell the model what each class weighs."""
        weights = self._weights
        self.engine.model.weigh_classes(None if weights is None else weights.to(self.engine.device))

    def skips(self, loaded: Loaded) -> bool:
        """Whether a batch is left out after a rollback."""
        here = (self.state.epoch, loaded.number + 1)
        return here in {(skipped.epoch, skipped.step) for skipped in self.state.skipped}

    def pass_over(self) -> None:
        """Count a step that is left out, so that order and rate stay what they were."""
        self._update(step=self.state.step + 1)

    def note(self, loaded: Loaded, loss: float, norm: float, *, seconds: float) -> None:
        """Count a step that is done."""
        self._began = self._began or (time.perf_counter() - seconds, self.step)
        state, images, spent = self.state, len(loaded.keys), self.pace.taken()
        self._update(
            step=state.step + 1,
            loss_sum=state.loss_sum + loss * images,
            norm_sum=state.norm_sum + (norm if math.isfinite(norm) else 0.0),
            images=state.images + images,
            seconds=state.seconds + seconds,
            data_wait_s=state.data_wait_s + spent.data_wait_s,
            device_busy_s=state.device_busy_s + spent.device_busy_s,
        )

    def add_validation(self, seconds: float) -> None:
        """Count time that went into validation."""
        spent = self.pace.taken()
        self._update(
            validation_s=seconds,
            data_wait_s=self.state.data_wait_s + spent.data_wait_s,
            device_busy_s=self.state.device_busy_s + spent.device_busy_s,
        )

    def told(self, loss: float, norm: float, share: float) -> Step:
        """Return the record of the step that was just done."""
        assert self._began is not None
        since, first = self._began
        pace = (time.perf_counter() - since) / (self.step - first)
        return Step(
            epoch=self.state.epoch,
            step=self.step,
            steps=self.steps,
            loss=loss,
            grad_norm=norm,
            learning_rate=self.training.learning_rate * share,
            images_per_s=self.training.step_images / pace,
            seconds_left=pace * (self.steps - self.step),
        )

    def finish_epoch(self, validation: Validation) -> Epoch:
        """Close the epoch: its record, its checkpoint, and the best one where it is that."""
        epoch = self._record(validation)
        self.state = RunState(
            fingerprint=self.state.fingerprint,
            epoch=self.state.epoch + 1,
            micro_batch=self.engine.micro_batch,
            epochs=(*self.state.epochs, epoch),
            skipped=self.state.skipped,
        )
        saved = self.save()
        if epoch.best:
            keep_as_best(saved)
        return epoch

    def save(self) -> Path:
        """Keep a checkpoint of this very moment."""
        tensors, plain = random_state()
        scaler = self.engine.accelerator.scaler
        self._update(
            micro_batch=self.engine.micro_batch,
            random=plain,
            scaler={} if scaler is None else scaler.state_dict(),
        )
        return save_checkpoint(
            self.folder,
            "last",
            self.state,
            step=self.step,
            tensors={
                **self.engine.weights(),
                "optimiser": self.engine.optimiser.state(),
                "random": tensors,
            },
        )

    def roll_back(self, fault: NotFiniteError) -> None:
        """Go back to the last good checkpoint, and leave the step at fault out this time.

        Raises:
            NotFiniteError: There is no checkpoint yet, or it happens for the third time.
        """
        skipped = self.state.skipped
        found = newest_valid(self.folder)
        if found is None or len(skipped) >= _ROLLBACKS:
            raise fault
        self._take_back(found)
        left_out = Skipped(epoch=fault.epoch, step=fault.number + 1, keys=fault.keys)
        self._update(skipped=(*skipped, left_out))

    def stopped(self) -> Stopped:
        """Return what tells the caller that the run was asked to stop."""
        return Stopped(
            f"Stopped as asked after step {self.step} of {self.steps}",
            got=self.folder,
            remedy="Train again with the same recipe to go on from here",
        )

    def _take_back(self, found: Checkpoint) -> None:
        load_weights(self.engine.model, found)
        if self.engine.average is not None:
            self.engine.average.restore(found.tensors("learning"))
        self.engine.optimiser.restore(found.tensors("optimiser"))
        restore_random_state(found.tensors("random"), found.state.random)
        if self.engine.accelerator.scaler is not None:
            self.engine.accelerator.scaler.load_state_dict(found.state.scaler)
        self.engine.micro_batch = found.state.micro_batch
        self.state = found.state
        self._began = None

    def _record(self, validation: Validation) -> Epoch:
        state, best = self.state, self.state.best
        steps = max(state.step, 1)
        rates = [group["lr"] for group in self.engine.optimiser.torch.param_groups]
        return Epoch(
            number=state.epoch,
            step=self.step,
            train_loss=state.loss_sum / max(state.images, 1),
            validation=validation,
            best=best is None or validation.rank > best.validation.rank,
            learning_rate=max(rates),
            grad_norm=state.norm_sum / steps,
            seconds=state.seconds + state.validation_s,
            images_per_s=state.images / state.seconds if state.seconds else 0.0,
            data_wait_s=state.data_wait_s,
            device_busy_s=state.device_busy_s,
            step_images=self.training.step_images,
            micro_batch=self.engine.micro_batch,
            device=str(self.engine.device),
            precision=self.engine.computes_in,
            skipped=state.skipped,
            shown=self._shown(state.epoch),
        )

    def _shown(self, epoch: int) -> dict[str, int]:
        if self._counts is None:
            return {}
        shown = (self._counts[self.order.of(epoch)] > 0).sum(axis=0)
        return dict(zip(self.engine.model.labels.names, shown.tolist(), strict=True))

    def _update(self, **changes: Any) -> None:
        self.state = self.state.model_copy(update=changes)


def _counts(images: BatchReader, engine: Engine) -> NDArray[np.int64] | None:
    """Return each image's targets of each class, (n, classes), read if need be; None if no need."""
    model, training = engine.model, engine.training
    known = known_counts(images.examples, len(model.labels))
    needed = training.class_weights == "balanced" or training.sampling == "rare_classes"
    if known is not None or not needed:
        return known
    if model.task == "multi_label":
        return (read_presence(images) == 1).astype(np.int64)
    return count_targets(images, classes=len(model.labels))


def _class_weights(
    images: BatchReader, engine: Engine, counts: NDArray[np.int64] | None
) -> Tensor | None:
    """Return what each class weighs, of several labels each one's positives; None: all alike."""
    if counts is None or engine.training.class_weights == "none":
        return None
    if engine.model.task != "multi_label":
        return balanced_weights(counts.sum(axis=0).tolist())
    presence = known_presence(images.examples)
    return positive_weights(read_presence(images) if presence is None else presence)
