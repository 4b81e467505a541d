"""How long, how fast and how carefully to learn."""

import os
from typing import Any, Literal

from pydantic import Field, model_validator

from wsi_vit.datasets.example import Task
from wsi_vit.section import Section

AUTO_BATCH = 16
"""Images a batch where the recipe says `auto`. It is the same on every machine, so that a learning
rate means the same everywhere; what is found by trial is how many of them fit on the device."""

_MOST_WORKERS = 8

Reading = Literal["random", "streaming"]
"""How the order of an epoch treats the places of images in their files."""

Compile = Literal["none", "default", "reduce-overhead", "max-autotune"]
"""Whether and how the forward pass is compiled, in torch's words."""

Precision = Literal["fp32", "bf16", "fp16"]
"""Bits of the numbers that a forward pass is computed in, and which."""

Recompute = Literal["none", "blocks"]
"""What is computed again in the backward pass, rather than kept until then."""

Metric = Literal["macro_f1", "mean_iou", "mean_ap", "explained"]
"""What the best epoch is chosen by."""

_METRICS: dict[Task, Metric] = {
    "classification": "macro_f1",
    "segmentation": "mean_iou",
    "multi_label": "mean_ap",
    "pretraining": "explained",
}


class TrainingSection(Section):
    """The `training` section of a recipe."""

    epochs: int = Field(default=10, ge=1)
    batch_size: int | Literal["auto"] = "auto"
    """Images a forward pass; `auto` is 16, as many at once as the device holds."""
    accumulate: int = Field(default=1, ge=1)
    """Batches that make one step of the optimiser."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Highest rate of AdamW, reached after the warm-up."""
    backbone_rate: float | None = Field(default=None, ge=0)
    """Highest rate of the pretrained part; absent: the same."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each layer of the pretrained part learns at this times the rate of the layer behind it."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decay of weight matrices; norms, biases and other vectors have none."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of all steps in which the rate rises; it falls as a cosine after that."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are shortened to this."""
    precision: Precision = "fp32"
    """Of the forward pass; weights and optimiser stay in 32 bits. fp16 needs a GPU; a processor
    without kernels for bf16 computes in fp32 instead, and the journal says so."""
    compile: Compile = "none"
    """Larger kernels, after a minute or more in which they are made; they are kept for other runs.
    Results differ in their last bits. `reduce-overhead`: launched as one CUDA graph, for small
    models and batches on a GPU. `max-autotune`: many kernels are tried out, which takes long."""
    recompute: Recompute = "none"
    """`blocks`: of each block only the input is kept for the backward pass, which computes the rest
    again: a third more time for a fraction of the memory, and the very same results."""
    freeze_epochs: int = Field(default=0, ge=0)
    """The pretrained part does not learn in the first so many epochs."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: a class counts in inverse proportion to its share of the training split; of
    several labels an image each one's positives count as much as its negatives."""
    sampling: Literal["uniform", "rare_classes"] = "uniform"
    """`rare_classes`: images that show a rare class come more often in an epoch."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of a moving average of the weights, which is judged and kept in their place; 0.99 looks
    back some hundred steps. Absent: the weights themselves."""
    early_stop_epochs: int | None = Field(default=None, ge=1)
    """Stop after so many epochs without a better one."""
    seed: int = Field(default=0, ge=0)
    workers: int | Literal["auto"] = "auto"
    """Processes that read and decode ahead; `auto` is half the processors, at most eight, and none
    where two processors or one learn themselves; 0 reads in between. What is learnt is the same."""
    reading: Reading = "random"
    """In which order an epoch shows the images. `random`: any of them after any other. `streaming`:
    in short stretches as they lie in their files, some dozens mixed at a time; for slides that are
    read while training, and for disks that seek slowly."""
    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    """Checkpoints within an epoch too; there is always one at its end."""

    @model_validator(mode="after")
    def _possible(self) -> "TrainingSection":
        if self.batch_size != "auto" and self.batch_size < 1:
            raise ValueError("batch_size is a positive number, or auto")
        if self.workers != "auto" and self.workers < 0:
            raise ValueError("workers is a number from 0, or auto")
        if self.freeze_epochs >= self.epochs and self.freeze_epochs:
            raise ValueError("freeze_epochs must be less than epochs, or the backbone never learns")
        return self

    @property
    def course(self) -> dict[str, Any]:
        """What decides what is learnt, as plain values; how it is carried out is left out.

        Recomputing gives the same bits, unless a compiler makes other kernels for it.
        """
        carried_out = {"workers", "checkpoint_every_steps"}
        if self.compile == "none":
            carried_out |= {"compile", "recompute"}
        return self.model_dump(mode="json", exclude=carried_out)

    def reading_processes(self, device: str) -> int:
        """Return how many processes read ahead for a `cuda` or `cpu` of this machine.

        Never more than it has processors. Where two of them at most learn themselves, none reads
        beside them: whatever takes one for a moment lets the other wait for it.
        """
        processors = len(os.sched_getaffinity(0))
        if self.workers != "auto":
            return min(self.workers, processors)
        if device == "cpu" and processors <= 2:
            return 0
        return max(1, min(_MOST_WORKERS, processors // 2))

    @property
    def step_images(self) -> int:
        """Images that make one step of the optimiser, on every machine."""
        return self.forward_images * self.accumulate

    @property
    def forward_images(self) -> int:
        """Images of a forward pass, before memory is found to be short."""
        return AUTO_BATCH if self.batch_size == "auto" else self.batch_size


def selection_metric(task: Task) -> Metric:
    """Return what the best epoch of a task is chosen by."""
    return _METRICS[task]
