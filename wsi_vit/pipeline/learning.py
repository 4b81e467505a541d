"""From a dataset to a model and its report."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from wsi_vit.datasets.check import check_labels
from wsi_vit.datasets.reading import TrainingSet, open_dataset
from wsi_vit.errors import RecipeError, StoreError
from wsi_vit.evaluation.evaluate import evaluate_model, evaluate_run
from wsi_vit.evaluation.multi_label.thresholds import tune_thresholds
from wsi_vit.evaluation.records import Evaluation, read_evaluation
from wsi_vit.evaluation.report import write_report
from wsi_vit.models.averaging import averaged
from wsi_vit.models.building import build_model
from wsi_vit.models.load import load_model
from wsi_vit.pipeline.describing import LEARNS, about_run, write_card
from wsi_vit.pipeline.outcomes import Progress, Trained, silent
from wsi_vit.pipeline.run_folder import RunPlace, place_of, run_shape
from wsi_vit.prediction.applied import load_applied
from wsi_vit.recipe import Recipe
from wsi_vit.settings import Settings
from wsi_vit.store import digest_of, file_digest, read_manifest
from wsi_vit.tracking.background import BackgroundSync
from wsi_vit.tracking.journal import EPOCH, FAILED, FINISHED, STEP
from wsi_vit.tracking.registry import resolve_folder
from wsi_vit.training.allocation import keep_freed_memory
from wsi_vit.training.checkpoints import load_best
from wsi_vit.training.gpu_lock import visible_card
from wsi_vit.training.loop import learn
from wsi_vit.training.randomness import seed_everything
from wsi_vit.training.records import Epoch, Learns, Step
from wsi_vit.training.supervisor import supervise

THRESHOLDS = "thresholds"
"""The journal's record of the score from which on each label is called present."""

_TELL_EVERY_S = 1.0
"""A step goes to the journal, and to whoever watches it, at most so often."""


def train(
    recipe: Recipe, dataset: Path, *, settings: Settings, progress: Progress = silent
) -> Trained:
    """Fine-tune a recipe's model on a dataset, in this process.

    A run that has its model already is left as it is; one that was interrupted goes on from its
    newest whole checkpoint, to the very same weights.

    Raises:
        DatasetError: The dataset must not be trained on; all faults at once.
        ModelError: The first weights are missing or do not fit.
        Stopped: SIGTERM came; a checkpoint was written.
        TrainingError: The run cannot go on.
    """
    data = open_dataset(dataset)
    check_labels(data)
    place = place_of(recipe, data, runs=settings.runs)
    if place.model.is_dir():
        return _trained_before(place, recipe)
    place.begin(recipe, data.folder)
    with _live_tracking(place, settings), settings.in_environment(), _failure_told(place):
        _learn(place, recipe, data, progress)
    return Trained(run=place.folder, reused=False)


def train_supervised(
    recipe: Recipe, dataset: Path, *, settings: Settings, progress: Progress = silent
) -> Trained:
    """Train in a process of its own that is watched, and ended with all its children if we are.

    Raises:
        TrainingError: It failed; the last lines of its log are told.
    """
    data = open_dataset(dataset)
    place = place_of(recipe, data, runs=settings.runs)
    if place.model.is_dir():
        return _trained_before(place, recipe)
    command = [sys.executable, "-m", "wsi_vit", "train", str(place.write_recipe(recipe))]
    with settings.in_environment():
        supervise(
            [*command, "--dataset", str(data.folder)],
            log=place.folder / "train.log",
            journal=place.journal.path,
            hear=partial(_hear, progress),
            card=None if settings.device == "cpu" else visible_card(),
        )
    return Trained(run=place.folder, reused=False)


def evaluate(run: Path, *, settings: Settings, progress: Progress = silent) -> Evaluation:
    """Score a run's model on its frozen test split; write metrics, pictures, report and card.

    The manifest comes last and commits the run. A run that is committed, with the very evaluation
    settings asked for, is read and not measured again.

    Raises:
        RecipeError: The run pre-trained.
    """
    place = RunPlace(run.resolve())
    recipe = place.recipe
    if recipe.task == "pretraining":
        raise RecipeError(
            "This run pre-trained: its model tells no classes apart",
            got=recipe.name,
            remedy=f"Use `wsi-vit pretrain {recipe.name}`, which measures what it draws",
        )
    if _is_measured(place, recipe):
        return read_evaluation(place.folder / "metrics.json")
    data, model = open_dataset(place.dataset), load_model(place.model)
    progress("evaluation", 0, 3)
    model.to(device_of(settings))
    applied = averaged(model, recipe.prediction.average)
    found = evaluate_run(applied, data, run=place.folder, section=recipe.evaluation)
    progress("evaluation", 2, 3)
    write_card(place, data, found)
    write_report(place.folder, about=about_run(place, data))
    place.commit(run_shape(recipe, data), _facts(recipe, found))
    progress("evaluation", 3, 3)
    return found


def evaluate_on(
    model: Path, dataset: Path, *, settings: Settings, progress: Progress = silent
) -> Evaluation:
    """Score a model's or a run's folder on the test split of any dataset with the same classes.

    Raises:
        RegistryError: There is no model.
        ModelError: The classes differ.
    """
    progress("evaluation", 0, 1)
    folder = resolve_folder(model)
    applied = load_applied(folder)
    applied.model.to(device_of(settings))
    judged = averaged(applied.model, applied.section.average)
    return evaluate_model(judged, open_dataset(dataset), model_folder=folder)


def device_of(settings: Settings) -> str:
    """Return the device that work is done on: the one asked for, the first GPU, or the CPU."""
    import torch

    return settings.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _learn(place: RunPlace, recipe: Recipe, data: TrainingSet, progress: Progress) -> None:
    keep_freed_memory()
    seed_everything(recipe.training.seed, "first weights")
    model = build_model(recipe.model, recipe.labels, recipe.task)
    learns = Learns(parameters=model.parameter_count, trained=model.trained_count)
    place.journal.append(LEARNS, learns)
    progress(f"training: {learns.spoken()}", 0, 1)
    told = {r.payload["number"] for r in place.journal.read() if r.kind == EPOCH}
    events = learn(
        model,
        data.examples("train"),
        data.examples("validation"),
        training=recipe.training,
        augmentation=recipe.augmentation,
        folder=place.checkpoints,
    )
    last_told_s = 0.0
    for event in events:
        if isinstance(event, Epoch):
            if event.number not in told:
                place.journal.append(EPOCH, event)
        elif event.step == event.steps or time.monotonic() - last_told_s > _TELL_EVERY_S:
            last_told_s = time.monotonic()
            place.journal.append(STEP, event)
            _show(event, progress)
    load_best(model, place.checkpoints)
    if recipe.task == "multi_label":
        judges = data.examples("validation")
        found = tune_thresholds(model, judges, average=recipe.prediction.average)
        place.journal.append(
            THRESHOLDS, dict(zip(recipe.labels.names, map(_short, found), strict=True))
        )
    with place.new_model() as folder:
        model.save(folder)
    _note_finished(place)


def _short(threshold: float) -> float:
    return round(threshold, 6)


def _trained_before(place: RunPlace, recipe: Recipe) -> Trained:
    """Return a run that has its model; a kill may have come before its journal said so."""
    place.take_over(recipe)
    if not any(record.kind == FINISHED for record in place.journal.read()):
        _note_finished(place)
    return Trained(run=place.folder, reused=True)


def _note_finished(place: RunPlace) -> None:
    place.journal.append(FINISHED, {"model": file_digest(place.model / "model.safetensors")})


def _show(step: Step, progress: Progress) -> None:
    minutes = step.seconds_left / 60
    words = f"loss {step.loss:.3f}, {step.images_per_s:.0f} images/s, {minutes:.1f} min left"
    progress(f"training: {words}", step.step, step.steps)


def _hear(progress: Progress, line: str) -> None:
    """Show what a line of the trainer's journal says; an empty one is a mere sign of life."""
    record = json.loads(line) if line else {}
    if record.get("kind") == STEP:
        _show(Step.model_validate(record["payload"]), progress)
    elif record.get("kind") == LEARNS:
        progress(f"training: {Learns.model_validate(record['payload']).spoken()}", 0, 1)


@contextmanager
def _live_tracking(place: RunPlace, settings: Settings) -> Iterator[None]:
    """Feed an MLflow server while the training runs; a local database waits for the register."""
    if not settings.tracking_uri.startswith("http"):
        yield
        return
    with BackgroundSync(place.folder, settings.tracking_uri):
        yield


@contextmanager
def _failure_told(place: RunPlace) -> Iterator[None]:
    """Write an error into the journal, so that nobody takes the run for one that goes on."""
    try:
        yield
    except BaseException as error:
        with suppress(StoreError):  # a full disk may be what ends the run
            place.journal.append(FAILED, {"error": type(error).__name__, "message": str(error)})
        raise


def _is_measured(place: RunPlace, recipe: Recipe) -> bool:
    if not (place.folder / "manifest.json").is_file():
        return False
    facts = read_manifest(place.folder).facts
    return facts["evaluation"] == _judged_by(recipe)


def _judged_by(recipe: Recipe) -> str:
    """Return a digest of what a recipe says about judging; a model is judged as it is applied."""
    return digest_of({"section": recipe.evaluation, "average": recipe.prediction.average})


def _facts(recipe: Recipe, found: Evaluation) -> dict[str, object]:
    return {
        "evaluation": _judged_by(recipe),
        "headline": found.headline.model_dump(mode="json"),
        "model_digest": found.model_digest,
        "recipe": recipe.name,
    }
