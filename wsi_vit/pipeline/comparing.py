"""compare-token-learner: the same recipe with and without its TokenLearner, side by side.

Each side is trained once a seed, on the same dataset with the same splits; runs lie where
every run lies, are reused where they are there, and go on where they were interrupted. What they
say of the test split, and what a training step of each costs, becomes one record with a page.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsi_vit.datasets.reading import TrainingSet, open_dataset
from wsi_vit.errors import RecipeError
from wsi_vit.evaluation.inference import ScoredTiles, score_tiles
from wsi_vit.evaluation.token_learner.difference import (
    Accuracies,
    Right,
    median_rate,
    median_ratio,
    paired_accuracies,
)
from wsi_vit.evaluation.token_learner.page import write_comparison
from wsi_vit.evaluation.token_learner.records import RECORD, Comparison, Side, read_comparison
from wsi_vit.evaluation.token_learner.words import result_sentence
from wsi_vit.models.averaging import averaged
from wsi_vit.models.load import load_model
from wsi_vit.models.sections import TokenLearnerSection, VitSection
from wsi_vit.pipeline.learning import device_of, train
from wsi_vit.pipeline.outcomes import (
    SIDES,
    ComparisonOutcome,
    Progress,
    SideName,
    Trained,
    silent,
)
from wsi_vit.pipeline.run_folder import RunPlace, run_shape
from wsi_vit.pipeline.tiling import build, tile_cohort
from wsi_vit.recipe import Recipe
from wsi_vit.settings import Settings
from wsi_vit.store import Shape, Store, canonical_json
from wsi_vit.training.cost import Candidate, Cost, measure_costs

_VERSION = 1
_ROUNDS = 25
_MIB = 2**20

Runs = Mapping[SideName, Sequence[Path]]
"""The folders of the runs of each side, a seed each."""


def side_of(recipe: Recipe, side: SideName, seed: int) -> Recipe:
    """Return one side of a comparison: a seed, counted from the recipe's own, and its model.

    Raises:
        RecipeError: The recipe has no TokenLearner to be compared with.
    """
    _learner_of(recipe)
    changes: dict[str, Any] = {
        "training": recipe.training.model_copy(update={"seed": recipe.training.seed + seed})
    }
    if side == "without":
        changes["model"] = recipe.model.model_copy(update={"token_learner": None})
    return recipe.model_copy(update=changes)


def compare_token_learner(
    recipe: Recipe, *, seeds: int, settings: Settings, progress: Progress = silent
) -> ComparisonOutcome:
    """Train a recipe with and without its TokenLearner in this process, and compare.

    Raises:
        RecipeError: The recipe has no TokenLearner.
        WsiVitError: Whatever stops a stage; what was finished before stays.
    """
    _learner_of(recipe)
    outcomes = tile_cohort(recipe, settings=settings, progress=progress)
    dataset = build(recipe, outcomes, settings=settings).folder
    asked: list[tuple[SideName, int]] = [(s, seed) for seed in range(seeds) for s in SIDES]
    trained: dict[SideName, list[Path]] = {side: [] for side in SIDES}
    for number, (side, seed) in enumerate(asked):
        progress(f"runs: {side}, seed {seed}", number, len(asked))
        found: Trained = train(
            side_of(recipe, side, seed), dataset, settings=settings, progress=progress
        )
        trained[side].append(found.run)
    progress("runs", len(asked), len(asked))
    return judge_token_learner(recipe, dataset, trained, settings=settings, progress=progress)


def judge_token_learner(
    recipe: Recipe, dataset: Path, runs: Runs, *, settings: Settings, progress: Progress = silent
) -> ComparisonOutcome:
    """Compare runs that are trained; what was compared before on this device is read again."""
    bench = _Bench(recipe, open_dataset(dataset), runs, settings, progress)
    store = Store(settings.runs / "comparisons")
    with settings.in_environment():
        made = store.ensure(bench.shape(), bench.make)
    found = read_comparison(made.folder / RECORD)
    return ComparisonOutcome(
        folder=made.folder,
        sentence=result_sentence(found),
        reused=made.reused,
        comparison=found,
    )


@dataclass(frozen=True)
class _Bench:
    """Runs that are to be compared."""

    recipe: Recipe
    data: TrainingSet
    runs: Runs
    settings: Settings
    progress: Progress

    def shape(self) -> Shape:
        """Return what decides the comparison: the runs, how they are judged, and on what."""
        sides = {(side, seed): side_of(self.recipe, side, seed) for side, seed in self._asked()}
        return Shape.of(
            "token-learner",
            _VERSION,
            sections={
                "evaluation": self.recipe.evaluation,
                "average": self.recipe.prediction.average,
                "device": _device_words(self.settings),
            },
            inputs={
                f"{side} {seed}": run_shape(recipe, self.data).key
                for (side, seed), recipe in sides.items()
            },
        )

    def make(self, folder: Path) -> dict[str, Any]:
        """Judge, measure and write; return what the manifest says."""
        answers: dict[SideName, list[ScoredTiles]] = {
            side: [self._answers(run) for run in self.runs[side]] for side in SIDES
        }
        costs = self._costs()
        found = self._record(answers, costs)
        (folder / "answers.json").write_text(canonical_json(_plain(answers)))
        write_comparison(found, folder)
        return {"recipe": found.recipe, "examples": found.examples, "seeds": len(found.seeds)}

    def _asked(self) -> Iterator[tuple[SideName, int]]:
        return ((side, seed) for side in SIDES for seed in range(len(self.runs[side])))

    def _answers(self, run: Path) -> ScoredTiles:
        self.progress(f"answers: {run.name}", 0, 1)
        model = load_model(RunPlace(run).model)
        model.to(device_of(self.settings))
        judged = averaged(model, self.recipe.prediction.average)
        size = self.recipe.evaluation.batch_size
        return score_tiles(judged, self.data.examples("test"), batch_size=size)

    def _costs(self) -> Mapping[str, Cost]:
        self.progress("measuring steps", 0, 1)
        candidates = {
            side: Candidate(
                model=recipe.model,
                labels=recipe.labels,
                training=recipe.training,
                augmentation=recipe.augmentation,
            )
            for side in SIDES
            for recipe in [side_of(self.recipe, side, 0)]
        }
        found = measure_costs(candidates, rounds=_ROUNDS)
        self.progress("measuring steps", 1, 1)
        return found

    def _record(
        self, answers: Mapping[SideName, Sequence[ScoredTiles]], costs: Mapping[str, Cost]
    ) -> Comparison:
        section, data, names = self.recipe.evaluation, self.data, answers["learner"][0].names
        right = {side: _right(answers[side]) for side in SIDES}
        accuracies = paired_accuracies(
            right["without"],
            right["learner"],
            names.patients,
            resamples=section.resamples,
            seed=section.seed,
        )
        sides = {side: self._side(side, right[side], accuracies, costs[side]) for side in SIDES}
        seconds = [costs[side].seconds for side in SIDES]
        first = self.recipe.training.seed
        return Comparison(
            recipe=self.recipe.name,
            token_learner=_learner_of(self.recipe),
            dataset_digest=data.digest,
            split_digest=data.split_digest,
            estimate=data.estimate,
            unit=data.unit,
            units=len(set(names.patients)),
            examples=len(names),
            seeds=tuple(range(first, first + len(right["learner"]))),
            without=sides["without"],
            learner=sides["learner"],
            difference=accuracies.difference,
            speed_up=median_ratio(*seconds, seed=section.seed),
            resamples=section.resamples,
            rounds=_ROUNDS,
            step_images=self.recipe.training.step_images,
            precision=self.recipe.training.precision,
            device=_device_words(self.settings),
            warnings=tuple(data.warnings),
            clock=_clock_words(self.settings),
            memory=_memory_words(self.settings),
        )

    def _side(self, side: SideName, right: Right, accuracies: Accuracies, cost: Cost) -> Side:
        return Side(
            accuracy=getattr(accuracies, side),
            accuracies=tuple(round(float(row.mean()), 6) for row in right),
            steps_per_s=median_rate(cost.seconds, seed=self.recipe.evaluation.seed),
            gflops=round(cost.gflops, 6),
            peak_mib=round(cost.peak_bytes / _MIB, 1),
            parameters=cost.parameters,
            runs=tuple(f"{run.parent.name}/{run.name}" for run in self.runs[side]),
        )


def _learner_of(recipe: Recipe) -> TokenLearnerSection:
    model = recipe.model
    learner = model.token_learner if isinstance(model, VitSection) else None
    if learner is None or recipe.task != "classification":
        raise RecipeError(
            "This recipe has no TokenLearner to compare with and without",
            got=f"{recipe.name}: kind {recipe.model.kind}",
            known=["kind: vit with token_learner: {after_block: 1, tokens: 2}"],
            remedy="Name such a recipe, as token_learner_digits is",
        )
    return learner


def _right(answers: Sequence[ScoredTiles]) -> Right:
    return np.stack([each.scores.argmax(axis=1) == each.truth for each in answers])


def _plain(answers: Mapping[SideName, Sequence[ScoredTiles]]) -> dict[str, Any]:
    """Return what each run said of each test image, so that others can test otherwise."""
    names, truth = answers["learner"][0].names, answers["learner"][0].truth
    return {
        "keys": list(names.keys),
        "patients": list(names.patients),
        "truth": truth.tolist(),
        **{side: [each.scores.argmax(axis=1).tolist() for each in answers[side]] for side in SIDES},
    }


def _clock_words(settings: Settings) -> str:
    if device_of(settings) == "cpu":
        return "the process's own seconds on one thread"
    return "seconds until the device has finished"


def _memory_words(settings: Settings) -> str:
    if device_of(settings) == "cpu":
        return (
            "what the resident memory of a process of its own grows by, from before the model is "
            "made to the peak of its training steps"
        )
    return "the most that CUDA had allocated in a process of its own"


def _device_words(settings: Settings) -> str:
    import torch

    device = device_of(settings)
    return f"{platform.machine()} CPU" if device == "cpu" else torch.cuda.get_device_name(device)
