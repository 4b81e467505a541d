"""What tracking reads in a run's folder, `runs/<recipe>/<key>/`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from wsi_vit.errors import RegistryError, StoreError
from wsi_vit.store import Manifest, digest_of, read_manifest
from wsi_vit.tracking.journal import ATTEMPT, Journal

UNKNOWN = "unknown"
_REPORTED = ("recipe.yaml", "manifest.json", "metrics.json", "report.html", "figures/*.png")


class _View(BaseModel):
    """Part of a record that another room writes: what is not needed here is left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Score(_View):
    """One figure with its 95 % interval; None where it cannot be said."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None


class LevelScores(_View):
    """The figures over tiles, slides or patients."""

    level: str
    scores: tuple[Score, ...]


class ClassScores(_View):
    """The figures of one class."""

    name: str
    scores: tuple[Score, ...]


class Results(_View):
    """What the registry needs to know from a run's `metrics.json`."""

    headline: Score
    estimate: str
    beats_trivial: bool
    dataset_digest: str
    split_digest: str
    model_digest: str | None = None
    """The sha256 of the weights that were evaluated."""
    interval_reason: str | None = None
    levels: tuple[LevelScores, ...] = ()
    classes: tuple[ClassScores, ...] = ()

    def named(self) -> Iterator[Score]:
        """Yield every figure, named `level/figure` or `class/figure`."""
        groups = [(level.level, level.scores) for level in self.levels]
        groups += [(f"class/{item.name}", item.scores) for item in self.classes]
        for prefix, scores in groups:
            for score in scores:
                yield score.model_copy(update={"name": f"{prefix}/{score.name}"})


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder; nothing in it is changed here, but for the sync's own bookmark."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> "RunFolder":
        """Return the run at a path.

        Raises:
            RegistryError: It is no folder.
        """
        if not path.is_dir():
            raise RegistryError(
                "No run there", got=path, remedy="Name a folder runs/<recipe>/<key>"
            )
        return cls(path.resolve())

    @property
    def key(self) -> str:
        """Names the run among those of its recipe."""
        return self.path.name

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.path.parent.name

    @property
    def journal(self) -> Journal:
        """The run's journal."""
        return Journal(self.path / "journal.jsonl")

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return self.path / "model"

    def settings(self) -> dict[str, Any]:
        """Return the resolved recipe, empty where there is none yet."""
        import yaml

        path = self.path / "recipe.yaml"
        if not path.is_file():
            return {}
        content = yaml.safe_load(path.read_text())
        return content if isinstance(content, dict) else {}

    def recipe_digest(self) -> str:
        """Return the sha256 of the recipe's content, whatever its layout and comments."""
        settings = self.settings()
        return digest_of(json.loads(json.dumps(settings, default=str))) if settings else UNKNOWN

    def attempts(self) -> list[dict[str, Any]]:
        """Return what each attempt at this run said of itself when it began."""
        return [record.payload for record in self.journal.read() if record.kind == ATTEMPT]

    def git_commit(self) -> str:
        """Return the commit that the last attempt ran from, `unknown` where it did not say."""
        for attempt in reversed(self.attempts()):
            if attempt.get("git_commit"):
                return str(attempt["git_commit"])
        return UNKNOWN

    def dataset(self) -> Manifest | None:
        """Return the manifest of the dataset it learnt from, None where there is none."""
        try:
            return read_manifest(self.path / "dataset")
        except StoreError:
            return None

    def results(self) -> Results | None:
        """Return what the evaluation found, None before it ran.

        Raises:
            RegistryError: `metrics.json` is not what an evaluation writes.
        """
        path = self.path / "metrics.json"
        if not path.is_file():
            return None
        try:
            return Results.model_validate_json(path.read_bytes())
        except ValidationError as error:
            fields = sorted({".".join(map(str, item["loc"])) for item in error.errors()})
            raise RegistryError(
                f"metrics.json does not say what is needed: {', '.join(fields) or 'no JSON'}",
                got=path,
                remedy="Evaluate the run again",
            ) from error

    def reported_files(self) -> list[Path]:
        """Return the files a person wants to find in MLflow, as far as they exist."""
        found = [path for pattern in _REPORTED for path in self.path.glob(pattern)]
        return sorted(path for path in found if path.is_file())


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
