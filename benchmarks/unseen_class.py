"""Does the anomaly score notice a class that the model never saw? One class at a time is left out.

    python -m benchmarks.unseen_class [--data DIR --start DIR] [--cohort CSV] [--quick] [--json]

`--data` is EBHI-Seg and `--start` a folder of ViT weights: features of the frozen weights, which
know no class at all; five case-disjoint folds, the score fitted on training and validation images
of the other five classes. `--cohort` is a synthetic cohort (`wsi-vit synthesise`): the model of
recipe `demo_classification` is trained anew without each class, and the score fitted on what it
learnt from. The figure is the AUROC of the class's test images against all others, both by the
Mahalanobis and by the nearest-neighbour distance; intervals are from a bootstrap over cases or
patients. `known_beyond` is the share of test images of known classes beyond the limit; 0.01 is what
is expected. `--quick`: the first fold only, one synthetic class only.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ebhi import FOLDS, Bench, dataset_of, recipe_of
from benchmarks.paired import SEED, as_tensor
from benchmarks.telling import options, tell
from wsi_vit.models.anomaly.section import AnomalySection

SCORES = {
    "mahalanobis": AnomalySection(score="mahalanobis"),
    "knn": AnomalySection(score="knn"),
}


@dataclass(frozen=True)
class Asked:
    """Test images asked by scores that do not know one class."""

    unseen: int
    truth: Any
    """Class ids, (n,)."""
    patients: tuple[str, ...]
    scores: dict[str, Any]
    """By the score's name, (n,)."""
    limits: dict[str, float]


def known_of(model: Any, examples: Any) -> Any:
    """Return what a model's head sees of a split."""
    import torch

    from wsi_vit.models.anomaly.scorer import Known

    seen, classes = [], []
    for start in range(0, len(examples), 32):
        batch = examples.__getitems__(range(start, min(start + 32, len(examples))))
        # Not collated by the model: that refuses a class which it does not know.
        seen.append(model.features(as_tensor([example.image for example in batch])))
        classes += [int(example.target) for example in batch]
    return Known(features=torch.cat(seen), classes=np.array(classes), patients=examples.patients)


def asked(train: Any, test: Any, unseen: int) -> Asked:
    """Ask scores that were fitted on training examples of all classes but one."""
    from wsi_vit.models.anomaly.scorer import fit_scorer

    others = train.only(train.classes != unseen)
    fitted = {name: fit_scorer(others, section, seed=SEED) for name, section in SCORES.items()}
    return Asked(
        unseen=unseen,
        truth=test.classes,
        patients=test.patients,
        scores={name: scorer.scores(test.features) for name, scorer in fitted.items()},
        limits={name: scorer.limit for name, scorer in fitted.items()},
    )


def biopsies(bench: Bench, *, folds: int) -> tuple[list[Asked], tuple[str, ...]]:
    """Ask about every class of EBHI-Seg in every fold, by frozen weights; also name the classes."""
    from wsi_vit.models.building import build_model
    from wsi_vit.models.sections import VitSection
    from wsi_vit.models.start import FolderStart

    assert bench.start
    labels = recipe_of(bench, "ebhi_classification", 0).labels
    section = VitSection(start=FolderStart(path=bench.start), tuning="head")
    model = build_model(section, labels, "classification").eval()
    found: list[Asked] = []
    for fold in range(folds):
        data = dataset_of(bench, "ebhi_classification", fold)
        train, validation, test = (
            known_of(model, data.examples(split)) for split in ("train", "validation", "test")
        )
        both = together(train, validation)
        found += [asked(both, test, unseen) for unseen in range(len(labels))]
    return found, labels.names


def together(one: Any, other: Any) -> Any:
    """Return the examples of two splits."""
    import torch

    return replace(
        one,
        features=torch.cat([one.features, other.features]),
        classes=np.concatenate([one.classes, other.classes]),
        patients=one.patients + other.patients,
    )


class Without:
    """A split without a class, the other ids moved together."""

    def __init__(self, examples: Any, unseen: int) -> None:
        self.unseen = unseen
        self.examples = examples.select(np.flatnonzero(examples.labels != unseen))
        self.keys, self.patients = self.examples.keys, self.examples.patients

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return examples, decoded."""
        found = self.examples.__getitems__(indices)
        return [
            replace(item, target=item.target - np.uint8(item.target > self.unseen))
            for item in found
        ]


def trained_without(recipe: Any, data: Any, unseen: int) -> Any:
    """Train a recipe's model on all classes but one."""
    from wsi_vit.models.building import build_model
    from wsi_vit.training.checkpoints import load_best
    from wsi_vit.training.loop import fit
    from wsi_vit.training.randomness import seed_everything

    classes = tuple(c for k, c in enumerate(recipe.labels.classes) if k != unseen)
    labels = recipe.labels.model_copy(update={"classes": classes})
    seed_everything(SEED, "first weights")
    model = build_model(recipe.model, type(labels).model_validate(labels.model_dump()), recipe.task)
    with tempfile.TemporaryDirectory() as folder:
        epochs = fit(
            model,
            Without(data.examples("train"), unseen),
            Without(data.examples("validation"), unseen),
            training=recipe.training,
            augmentation=recipe.augmentation,
            folder=Path(folder),
        )
        list(epochs)
        load_best(model, Path(folder))
    return model.eval()


def tissues(
    cohort: Path, runs: Path, *, classes: int | None
) -> tuple[list[Asked], tuple[str, ...]]:
    """Ask about the classes of a synthetic cohort, each by a model trained without it."""
    from wsi_vit import pipeline
    from wsi_vit.datasets.reading import open_dataset
    from wsi_vit.recipe import load_recipe
    from wsi_vit.settings import Settings

    recipe, settings = load_recipe("demo_classification").reading(cohort), Settings(runs=runs)
    slides = pipeline.tile_cohort(recipe, settings=settings)
    data = open_dataset(pipeline.build(recipe, slides, settings=settings).folder)
    found: list[Asked] = []
    for unseen in range(len(recipe.labels))[:classes]:
        model = trained_without(recipe, data, unseen)
        train, test = (known_of(model, data.examples(split)) for split in ("train", "test"))
        found.append(asked(train, test, unseen))
    return found, recipe.labels.names


def figures(found: Sequence[Asked], names: Sequence[str], what: str) -> dict[str, Any]:
    """Return AUROC a class and their mean, with intervals, and what known classes score."""
    told: dict[str, Any] = {}
    for score in SCORES:
        areas: list[float] = []
        for unseen in sorted({one.unseen for one in found}):
            area = ranked([one for one in found if one.unseen == unseen], score)
            told[f"{what}_{score}_{names[unseen].replace(' ', '_')}"] = area
            areas.append(area["value"])
        told[f"{what}_{score}_mean"] = round(float(np.mean(areas)), 4)
        beyond = [(o.scores[score] > o.limits[score])[o.truth != o.unseen] for o in found]
        told[f"{what}_{score}_known_beyond"] = round(float(np.concatenate(beyond).mean()), 4)
    return told


def ranked(folds: Sequence[Asked], score: str) -> dict[str, float]:
    """Return how well one unseen class ranks above the others, over all folds."""
    from wsi_vit.evaluation.intervals import PatientDraws, bounds
    from wsi_vit.evaluation.ranking import auroc

    scores = np.concatenate([fold.scores[score] for fold in folds])
    unseen = np.concatenate([fold.truth == fold.unseen for fold in folds])
    patients = tuple(patient for fold in folds for patient in fold.patients)
    draws = PatientDraws(patients, resamples=2000, seed=SEED)
    drawn = draws.of_auroc(scores[:, None], np.where(unseen, 0, 1), patients)[:, 0]
    low, high = bounds(drawn)
    value = auroc(scores, unseen)
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = options(__doc__, quick="the first fold only, one synthetic class only")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/unseen-class"))
    given = parser.parse_args()
    told: dict[str, Any] = {}
    if given.data and given.start:
        bench = Bench(given.data.resolve(), given.start.resolve(), given.runs)
        told |= figures(*biopsies(bench, folds=1 if given.quick else FOLDS), "biopsies")
    if given.cohort:
        classes = 1 if given.quick else None
        told |= figures(*tissues(given.cohort, given.runs, classes=classes), "synthetic")
    if not told:
        parser.error("name --data and --start, or --cohort")
    tell("unseen_class", {**told, "seed": SEED}, given)


if __name__ == "__main__":
    main()
