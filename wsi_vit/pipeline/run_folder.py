"""A run's folder, `runs/<recipe>/<key>/`: where things lie, what names it, what commits it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import Any

from wsi_vit.datasets.reading import TrainingSet
from wsi_vit.datasets.sources import CohortSource
from wsi_vit.errors import StoreError
from wsi_vit.prediction.applied import PREDICTION, STAIN, TILES
from wsi_vit.recipe import Recipe, dump_recipe, load_recipe
from wsi_vit.slides.stain.section import MacenkoStain
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.store import FileEntry, Manifest, Shape, canonical_json, file_digest, write_whole
from wsi_vit.tracking.journal import Journal

_VERSION = 1
_COMMITTED = ("recipe.yaml", "metrics.json", "report.html", "model/*", "figures/*")


@dataclass(frozen=True)
class RunPlace:
    """One run on the disk."""

    folder: Path

    @property
    def model(self) -> Path:
        """The trained model; there, or not at all."""
        return self.folder / "model"

    @property
    def checkpoints(self) -> Path:
        """Where an interrupted run goes on from."""
        return self.folder / "checkpoints"

    @property
    def dataset(self) -> Path:
        """The dataset it learnt from."""
        return (self.folder / "dataset").resolve()

    @property
    def journal(self) -> Journal:
        """What the run says of itself, line by line."""
        return Journal(self.folder / "journal.jsonl")

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe.

        Raises:
            StoreError: The folder is no run's.
        """
        path = self.folder / "recipe.yaml"
        if not path.is_file():
            raise StoreError(
                "Not a run's folder", got=self.folder, remedy="Name a folder runs/<recipe>/<key>"
            )
        return load_recipe(path)

    def write_recipe(self, recipe: Recipe) -> Path:
        """Write the resolved recipe; return its path."""
        path = self.folder / "recipe.yaml"
        with write_whole(path) as scratch:
            scratch.write_text(dump_recipe(recipe))
        return path

    def begin(self, recipe: Recipe, dataset: Path) -> None:
        """Write down what is about to be done; an attempt at a run is a line of its journal."""
        self.write_recipe(recipe)
        link = self.folder / "dataset"
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(dataset, self.folder.resolve()))
        self.journal.append(
            "attempt", {"recipe": recipe.name, "git_commit": git_commit(), "process": os.getpid()}
        )

    def take_over(self, recipe: Recipe) -> None:
        """Note how a trained run is to be measured and applied; if that changed, it is anew."""
        asked = {"evaluation": recipe.evaluation, "prediction": recipe.prediction}
        here = self.recipe.model_copy(update=asked)
        if here == self.recipe and (self.model / PREDICTION).is_file():
            return
        (self.folder / "manifest.json").unlink(missing_ok=True)
        with write_whole(self.model / PREDICTION) as scratch:
            scratch.write_text(canonical_json(recipe.prediction))
        self.write_recipe(here)

    @contextmanager
    def new_model(self) -> Iterator[Path]:
        """Yield an empty folder that becomes `model/` if the block succeeds."""
        scratch = self.folder / ".model"
        rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        yield scratch
        tiles = _tiles_of(self.recipe)
        if tiles:
            (scratch / TILES).write_text(canonical_json(tiles))
        stain = _stain_of(self.recipe)
        if stain:
            (scratch / STAIN).write_text(canonical_json(stain))
        (scratch / PREDICTION).write_text(canonical_json(self.recipe.prediction))
        scratch.rename(self.model)

    def commit(self, shape: Shape, facts: dict[str, Any]) -> Manifest:
        """Write the manifest that says the run is finished, and what it left."""
        paths = sorted(path for pattern in _COMMITTED for path in self.folder.glob(pattern))
        manifest = Manifest(
            shape=shape,
            key=shape.key,
            facts=facts,
            files=tuple(
                FileEntry(
                    path=path.relative_to(self.folder).as_posix(),
                    sha256=file_digest(path),
                    bytes=path.stat().st_size,
                )
                for path in paths
            ),
        )
        with write_whole(self.folder / "manifest.json") as scratch:
            scratch.write_text(canonical_json(manifest))
        return manifest


def run_shape(recipe: Recipe, dataset: TrainingSet) -> Shape:
    """Return what decides a run's model: labels, model, augmentation, training, data, weights.

    Where data and weights lie does not count, what they are does.
    """
    return Shape.of(
        "run",
        _VERSION,
        sections={
            "labels": recipe.labels,
            "model": recipe.model.model_dump(mode="json", exclude={"start"}),
            "augmentation": recipe.augmentation,
            "training": recipe.training.course,
        },
        inputs={"dataset": dataset.digest, "start": recipe.model.start.digest()},
    )


def place_of(recipe: Recipe, dataset: TrainingSet, *, runs: Path) -> RunPlace:
    """Return where the run of a recipe on a dataset lies."""
    return RunPlace((runs / recipe.name / run_shape(recipe, dataset).name).resolve())


def git_commit() -> str | None:
    """Return the commit this code runs from, None outside a checkout; `+` marks changes."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # an installed package may lie in somebody's repository
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            cwd=checkout,
            check=False,
        )
    except OSError:  # no git on this machine
        return None
    return found.stdout.strip() or None


def _tiles_of(recipe: Recipe) -> TilesSection | None:
    return recipe.source.tiles if isinstance(recipe.source, CohortSource) else None


def _stain_of(recipe: Recipe) -> MacenkoStain | None:
    stain = recipe.source.stain if isinstance(recipe.source, CohortSource) else None
    return stain if isinstance(stain, MacenkoStain) else None
