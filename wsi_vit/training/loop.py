"""The training loop: read it top to bottom, there is no other.

It prints nothing and registers nothing. It yields what happened, and the caller decides.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.datasets.example import Examples
from wsi_vit.errors import Stopped, TrainingError
from wsi_vit.models.model import Model
from wsi_vit.store import digest_of
from wsi_vit.training.batches import BatchReader
from wsi_vit.training.engine import Engine, NotFiniteError
from wsi_vit.training.order import cut
from wsi_vit.training.randomness import repeatable
from wsi_vit.training.records import Epoch, Step, Validation
from wsi_vit.training.run import Run
from wsi_vit.training.section import TrainingSection
from wsi_vit.training.stopping import StopRequest, stop_on_sigterm
from wsi_vit.training.validate import validate


def fit(
    model: Model,
    train: Examples,
    validation: Examples,
    *,
    training: TrainingSection,
    augmentation: Augmentation,
    folder: Path,
) -> Generator[Epoch]:
    """Train a model, yielding every epoch; `learn` without its steps."""
    events = learn(
        model, train, validation, training=training, augmentation=augmentation, folder=folder
    )
    with closing(events):
        for event in events:
            if isinstance(event, Epoch):
                yield event


def learn(
    model: Model,
    train: Examples,
    validation: Examples,
    *,
    training: TrainingSection,
    augmentation: Augmentation,
    folder: Path,
) -> Generator[Step | Epoch]:
    """Train a model, yielding every step and every epoch.

    Checkpoints lie in `folder`. Where it holds a valid one of this very run, the run goes on from
    there, to the same weights as if nothing had happened; the epochs before are told again first,
    so that none is lost between a checkpoint and the caller's journal (tell them apart by their
    number). In the end the model has the last weights (averaged, where they are); `load_best`
    gives it the best ones.

    Raises:
        Stopped: SIGTERM came; a checkpoint was written.
        TrainingError: The loss is not finite, memory is too short, the disk is full, a split is
            empty, or the folder belongs to another run.
    """
    if not len(train) or not len(validation):
        raise TrainingError(
            "A split is empty",
            got=f"{len(train)} images to train on, {len(validation)} to validate on",
            remedy="Bring more patients, or change the shares of the split",
        )
    engine = Engine(model, training, augmentation)
    identity = fingerprint(model, train, validation, training, augmentation)
    workers = training.reading_processes(engine.device.type)
    with (
        repeatable(engine.device),
        stop_on_sigterm() as request,
        BatchReader(train, model=model, workers=workers) as images,
        BatchReader(validation, model=model, workers=workers) as judges,
    ):
        run = Run(engine, folder, fingerprint=identity, images=images)
        run.resume()
        run.weigh_classes()
        yield from run.state.epochs
        while not run.finished:
            try:
                yield from _epoch(run, images, request)
                yield run.finish_epoch(_validation(run, judges, request))
            except NotFiniteError as fault:
                run.roll_back(fault)
        engine.end()


def _epoch(run: Run, images: BatchReader, request: StopRequest) -> Generator[Step]:
    """Take the steps of an epoch that are not done yet."""
    training, engine, number = run.training, run.engine, run.state.epoch
    engine.begin_epoch(number)
    order = cut(run.order.of(number), training.step_images)
    began = time.perf_counter()
    with closing(run.pace.timed(images.read(order, first=run.state.step))) as batches:
        for loaded in batches:
            share = engine.begin_step(run.step, steps=run.steps)
            if run.skips(loaded):
                run.pass_over()
                continue
            with run.pace.working():
                loss, norm = engine.step(loaded, epoch=number)
            run.note(loaded, loss, norm, seconds=time.perf_counter() - began)
            engine.end_step(run.step)
            if run.is_due:
                run.save()
            yield run.told(loss, norm, share)
            if request.asked:  # while the step was taken, or while the caller had its record
                run.save()
                raise run.stopped()
            began = time.perf_counter()


def _validation(run: Run, judges: BatchReader, request: StopRequest) -> Validation:
    """Score the model as it is now; a stop keeps a checkpoint that resumes right here."""

    def stop_if_asked() -> None:
        if request.asked:
            raise run.stopped()

    began = time.perf_counter()
    while True:
        try:
            with run.engine.judged():
                found = validate(
                    run.engine.model,
                    judges,
                    batch_size=run.engine.micro_batch,
                    pace=run.pace,
                    precision=run.engine.precision,
                    before_batch=stop_if_asked,
                )
        except torch.OutOfMemoryError as error:
            run.engine.halve(error)
        except Stopped:
            run.save()
            raise
        else:
            run.add_validation(time.perf_counter() - began)
            return found


def fingerprint(
    model: Model,
    train: Examples,
    validation: Examples,
    training: TrainingSection,
    augmentation: Augmentation,
) -> str:
    """Return the digest of all that decides the course of a run."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    return digest_of(
        {
            "training": training.course,
            "augmentation": augmentation,
            "labels": model.labels,
            "tensors": shapes,
            "splits": [_identity(train), _identity(validation)],
        }
    )


def _identity(examples: Examples) -> list[object]:
    """Return what names a split without reading it: its keys where they are at hand."""
    keys: Sequence[str] = getattr(examples, "keys", ())
    return [len(examples), digest_of([str(key) for key in keys])]
