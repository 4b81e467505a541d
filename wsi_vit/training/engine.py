"""One step of the optimiser on whatever device there is, through Accelerate."""

import logging
import math
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wsi_vit.datasets.augmentation.batches import augment
from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.errors import TrainingError
from wsi_vit.models.model import Batch, Model
from wsi_vit.training.batches import Loaded, part, to_device
from wsi_vit.training.compilation import Compiled, compiler_errors_told
from wsi_vit.training.moving_average import MovingAverage
from wsi_vit.training.optimiser import Optimiser
from wsi_vit.training.precision import computed_in
from wsi_vit.training.randomness import generator_of, seed_everything
from wsi_vit.training.schedule import rate_share
from wsi_vit.training.section import TrainingSection

if TYPE_CHECKING:
    from accelerate import Accelerator


_log = logging.getLogger(__name__)


class NotFiniteError(TrainingError):
    """The loss or the gradient of a step is not finite; the weights are as before the step."""

    def __init__(self, what: str, loaded: Loaded, *, epoch: int) -> None:
        self.epoch, self.number, self.keys = epoch, loaded.number, loaded.keys
        super().__init__(
            f"{what} at step {loaded.number + 1} of epoch {epoch}",
            got=f"images {', '.join(loaded.keys[:8])}{', …' if len(loaded.keys) > 8 else ''}",
            remedy="Look at these images; else lower the learning rate or use fp32",
        )


class Engine:
    """A model on its device, with its optimiser and what mixed precision needs."""

    def __init__(self, model: Model, training: TrainingSection, augmentation: Augmentation) -> None:
        self.model, self.training, self.augmentation = model, training, augmentation
        self.accelerator = _accelerator(training)
        self.device: torch.device = self.accelerator.device
        self.computes_in = computed_in(training.precision, self.device)
        if self.computes_in != training.precision:
            _log.warning(
                "This processor has no kernels for %s: forward passes are computed in %s",
                training.precision,
                self.computes_in,
            )
        model.to(self.device)
        self.optimiser = Optimiser(model, training)
        self._stepper = self.accelerator.prepare_optimizer(self.optimiser.torch)
        self.average = None if training.ema is None else MovingAverage(model, training.ema)
        self.micro_batch = min(training.forward_images, training.step_images)
        how = training.compile
        self._compiled = None if how == "none" else Compiled(model, how, self.device)
        if training.recompute == "blocks":
            model.recompute_blocks()

    def precision(self) -> AbstractContextManager[None]:
        """Open the context of a forward pass."""
        return nullcontext() if self.computes_in == "fp32" else self.accelerator.autocast()

    def begin_epoch(self, number: int) -> None:
        """Switch dropout on, and freeze or thaw the pretrained part as the recipe says."""
        self.model.train()
        if number <= self.training.freeze_epochs:
            self.optimiser.freeze_backbone()
        else:
            self.optimiser.thaw_backbone()

    def judged(self) -> AbstractContextManager[None]:
        """Let the model have the weights that are judged and kept: the averaged ones, if any."""
        return nullcontext() if self.average is None else self.average.worn()

    def begin_step(self, step: int, *, steps: int) -> float:
        """Tell optimiser and model how far the run is, before a step (from 0) of `steps`.

        Returns:
            The share of the highest rate that the step learns with.
        """
        share = rate_share(step, steps=steps, warmup_share=self.training.warmup_share)
        self.optimiser.set_rate(share)
        self.model.progress(step / steps)
        return share

    def end_step(self, steps: int) -> None:
        """Take the weights into their average, now that so many steps of the run are done."""
        if self.average is not None:
            self.average.follow(steps)

    def weights(self) -> dict[str, Mapping[str, Tensor]]:
        """Return what a checkpoint keeps of the model: the weights that are judged as `model`.

        Where those are an average, `learning` holds the ones that learn.
        """
        with self.judged():  # they keep what they point to, whatever the model has afterwards
            judged = self.model.state_dict()
        return {"model": judged} | (
            {} if self.average is None else {"learning": self.average.learning()}
        )

    def step(self, loaded: Loaded, *, epoch: int) -> tuple[float, float]:
        """Learn from a batch once; return its mean loss, and the gradient's norm before clipping.

        Augmentation and dropout follow from (seed, epoch, step), and the augmentation sees the
        whole batch, so that neither a resume nor a smaller micro-batch changes what is learnt from.

        Raises:
            NotFiniteError: The loss or the gradient is not finite; nothing was changed.
            TrainingError: Not even one image fits on the device.
        """
        where = (self.training.seed, epoch, loaded.number)
        while True:
            seed_everything("step", *where)
            try:
                return self._attempt(loaded, epoch=epoch)
            except torch.OutOfMemoryError as error:
                self.halve(error)

    def end(self) -> None:
        """Leave the model whole: able to learn in all parts, with the weights that are judged."""
        self.optimiser.thaw_backbone()
        if self.training.recompute == "blocks":
            self.model.remember_blocks()
        if self.average is not None:
            self.average.swap()

    def halve(self, error: torch.OutOfMemoryError) -> None:
        """Halve the images that are on the device at once, and forget the broken attempt.

        Raises:
            TrainingError: It was only one.
        """
        self.optimiser.torch.zero_grad(set_to_none=True)
        if self.micro_batch == 1:
            raise TrainingError(
                "The device's memory does not hold one image",
                got=str(error).splitlines()[0],
                remedy="Use a smaller model, smaller images, or bf16",
            ) from error
        self.micro_batch = -(-self.micro_batch // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _attempt(self, loaded: Loaded, *, epoch: int) -> tuple[float, float]:
        generator = generator_of("augmentation", self.training.seed, epoch, loaded.number)
        batch = to_device(loaded.batch, self.device)
        images, targets = augment(batch["images"], batch["targets"], self.augmentation, generator)
        loss = self._backward({"images": images, "targets": targets})
        parameters = [p for p in self.optimiser.parameters if p.grad is not None]
        norm = self.accelerator.clip_grad_norm_(parameters, self.training.max_grad_norm)
        # The one place in a step that waits for the device: a loss that is not finite must be
        # found before the weights take it.
        loss_value, norm_value = torch.stack([loss, torch.as_tensor(norm).float()]).tolist()
        self._refuse_not_finite(loss_value, norm_value, loaded, epoch=epoch)
        self._stepper.step()
        self._stepper.zero_grad(set_to_none=True)
        return loss_value, norm_value

    def _backward(self, batch: Batch) -> Tensor:
        """Sum up gradients micro-batch by micro-batch; return the mean loss over the images.

        Each micro-batch counts by its images. Where a loss averages over something else (pixels
        that are not ignored), that is what differs from one pass over all.
        """
        count = len(batch["images"])
        losses: list[Tensor] = []
        for start in range(0, count, self.micro_batch):
            piece = part(batch, start, start + self.micro_batch)
            images = len(piece["images"])
            with self._kernels(images):
                with self.precision():
                    loss = self.model.loss(piece).float() * (images / count)
                self.accelerator.backward(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    @contextmanager
    def _kernels(self, images: int) -> Generator[None]:
        """Compute what comes by compiled kernels where there are some for so many images."""
        if self._compiled is None or images != self.micro_batch:
            yield
            return
        with compiler_errors_told(), self._compiled.worn():
            yield

    def _refuse_not_finite(self, loss: float, norm: float, loaded: Loaded, *, epoch: int) -> None:
        # fp16 overflows now and then by design: its scaler skips that step and scales less.
        scaler = self.accelerator.scaler
        if math.isfinite(loss) and (math.isfinite(norm) or scaler is not None):
            return
        self.optimiser.torch.zero_grad(set_to_none=True)
        if scaler is not None:
            scaler.update()
        what = f"The loss is {loss}" if not math.isfinite(loss) else f"The gradient is {norm}"
        raise NotFiniteError(what, loaded, epoch=epoch)


def _accelerator(training: TrainingSection) -> "Accelerator":
    """Return Accelerate's view of this machine: one process, one device.

    Raises:
        TrainingError: The precision needs another device, or several processes were started.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import GradientAccumulationPlugin

    # The first precision of a process would bind all later runs in it.
    AcceleratorState._reset_state()
    try:
        found = Accelerator(
            mixed_precision="no" if training.precision == "fp32" else training.precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )
    except ValueError as error:
        raise _unfit(training, error) from error
    if training.precision != "fp32" and not found.native_amp:
        raise _unfit(training, found.device)  # Accelerate would go on in fp32 and say nothing
    if found.num_processes > 1:
        raise TrainingError(
            "A run trains on one device",
            got=f"{found.num_processes} processes",
            remedy="Start it without `accelerate launch` or torchrun",
        )
    return found


def _unfit(training: TrainingSection, got: object) -> TrainingError:
    return TrainingError(
        f"This device cannot train in {training.precision}", got=got, remedy="Use bf16 or fp32"
    )
