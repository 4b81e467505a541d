"""What a finished run says of itself: the card beside the weights, the words of the report."""

from collections.abc import Mapping
from pathlib import Path

from wsi_vit.datasets.card import PATIENTS
from wsi_vit.datasets.reading import TrainingSet
from wsi_vit.datasets.sources import CohortSource, HubSource
from wsi_vit.evaluation.pretraining.records import PretrainingEvaluation
from wsi_vit.evaluation.records import Evaluation, Score
from wsi_vit.evaluation.report import About
from wsi_vit.evaluation.units import so_many
from wsi_vit.models.card import CardFacts, Figure, card_text
from wsi_vit.models.licences import licence_of
from wsi_vit.models.load import load_model
from wsi_vit.models.start import ConfigStart, FolderStart, HubStart
from wsi_vit.pipeline.run_folder import RunPlace
from wsi_vit.pipeline.timing import time_spent
from wsi_vit.recipe import Recipe
from wsi_vit.store import write_whole
from wsi_vit.training.records import Learns

LEARNS = "learns"
"""The journal's record of how much of the model learns."""


def about_run(place: RunPlace, data: TrainingSet) -> About:
    """Return what the report says beside the figures."""
    train = data.examples("train")
    who = so_many(len(set(train.patients)), data.unit)
    what = "tiles" if isinstance(place.recipe.source, CohortSource) else "images"
    spent = time_spent(place.folder)
    return About(
        title=place.recipe.name,
        trained_on=f"{who}, {so_many(len(train), what)}",
        command=_command(place.recipe),
        facts=(
            ("run", place.folder.name),
            ("first weights", _base(place.recipe)),
            *_learnt(place),
            *_averaged(place.recipe),
            *([("time", spent.spoken())] if spent else []),
        ),
    )


def write_card(place: RunPlace, data: TrainingSet, found: Evaluation) -> Path:
    """Write `model/card.md` with the figures of an evaluation."""
    return _write_card(place, data, found, _metrics(found))


def write_pretraining_card(
    place: RunPlace, data: TrainingSet, found: PretrainingEvaluation
) -> Path:
    """Write `model/card.md` with the errors of a pre-trained model."""
    scores = (found.error, found.mean_colour, found.gain)
    return _write_card(place, data, found, {score.name: _figure(score) for score in scores})


def _write_card(
    place: RunPlace,
    data: TrainingSet,
    found: Evaluation | PretrainingEvaluation,
    metrics: Mapping[str, Figure],
) -> Path:
    start, source = place.recipe.model.start, place.recipe.source
    facts = CardFacts(
        name=f"wsi-vit-{place.recipe.name}",
        summary=_summary(place.recipe, data.unit),
        base=_base(place.recipe),
        base_model=start.id if isinstance(start, HubStart) else None,
        base_licence=licence_of(start.id) if isinstance(start, HubStart) else None,
        dataset=place.recipe.name,
        dataset_digest=data.digest,
        hub_dataset=source.id if isinstance(source, HubSource) else None,
        unit=data.unit,
        estimate=found.estimate,
        metrics=metrics,
        limits=(*found.warnings, *data.warnings),
    )
    path = place.model / "card.md"
    with write_whole(path) as scratch:
        scratch.write_text(card_text(load_model(place.model), facts))
    return path


def _command(recipe: Recipe) -> str:
    source = recipe.source
    data = source.cohort if isinstance(source, CohortSource) else source.root
    start = recipe.model.start
    verb = "pretrain" if recipe.task == "pretraining" else "run"
    parts = [f"wsi-vit {verb} {recipe.name}", f"--cohort {data.name}" if data else ""]
    parts.append(f"--start {start.path.name}" if isinstance(start, FolderStart) else "")
    return " ".join(part for part in parts if part)


def _learnt(place: RunPlace) -> tuple[tuple[str, str], ...]:
    """Say how much of the model learnt; nothing of runs that were trained before this was noted."""
    told = [record.payload for record in place.journal.read() if record.kind == LEARNS]
    return (("what learnt", Learns.model_validate(told[-1]).spoken()),) if told else ()


def _averaged(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """Say over which views the figures are averaged; nothing where each picture is seen once."""
    how = recipe.prediction.average
    return () if how == "none" else (("scores", f"averaged over {how} of each picture"),)


def _base(recipe: Recipe) -> str:
    start = recipe.model.start
    if isinstance(start, ConfigStart):
        return "random, drawn from the recipe's seed"
    if isinstance(start, FolderStart):
        return f"folder {start.path.name}, sha256 {start.digest()[:16]}"
    return f"{start.id} at {start.revision}"


def _summary(recipe: Recipe, unit: str) -> str:
    kind = "histology images" if unit == PATIENTS else "images"
    if recipe.task == "pretraining":
        return f"Weights to begin from, learnt from {kind} that nobody labelled."
    names = ", ".join(name for name in recipe.labels.names if name != recipe.labels.background)
    if recipe.task == "multi_label":
        return f"Tells which of {names} show in {kind}, none too."
    verb = "Tells apart" if recipe.task == "classification" else "Outlines"
    return f"{verb} {names} in {kind}."


def _metrics(found: Evaluation) -> Mapping[str, Figure]:
    """Return the figures over all examples, then the means that others define otherwise."""
    ours = {score.name: _figure(score) for score in found.level("tile").scores}
    others = {
        f"{score.name} ({definition.name})": _figure(score)
        for definition in found.definitions[1:]
        for score in definition.scores
    }
    return {**ours, **others}


def _figure(score: Score) -> Figure:
    if score.value is None or score.low is None or score.high is None:
        return score.value
    return (score.value, score.low, score.high)
