"""What the registry knows of a model's versions, as records; MLflow keeps it as tags."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime

from wsi_vit.section import Section
from wsi_vit.tracking.run_folder import UNKNOWN, Results, RunFolder, Score

PREFIX = "wsi_vit."
REGIONS = "regions of one patient"
Outcome = Literal["first", "promoted", "kept", "refused", "rolled_back"]
"""How a decision about a version ended. These words are stored: never rename one."""


class Version(Section):
    """One version of a registered model."""

    name: str
    version: int
    run_id: str
    run_key: str
    created: AwareDatetime
    aliases: tuple[str, ...]
    headline: Score
    estimate: str
    """`unseen patients` or `regions of one patient`."""
    beats_trivial: bool
    dataset_digest: str
    split_digest: str
    recipe_digest: str
    model_digest: str
    git_commit: str
    decision: Outcome | None
    """How the last decision about it ended; None where there was none."""
    files: dict[str, str]
    """The sha256 of each file of its model folder."""

    @property
    def uri(self) -> str:
        """The name that `resolve` and MLflow understand."""
        return f"models:/{self.name}/{self.version}"


class Decision(Section):
    """One entry of the promotion ledger."""

    name: str
    version: int
    outcome: Outcome
    reason: str
    champion_before: int | None
    champion_after: int | None
    time: AwareDatetime


class RegisteredModel(Section):
    """A registered model with its aliases and versions, the newest first."""

    name: str
    champion: int | None
    challenger: int | None
    previous_champion: int | None
    versions: tuple[Version, ...]


def tags_of(folder: RunFolder, results: Results, files: Mapping[str, str]) -> dict[str, str]:
    """Return the facts of a run that its version carries, as tags."""
    from wsi_vit.tracking.model_folder import model_digest

    facts = {
        "run_key": folder.key,
        "dataset_digest": results.dataset_digest,
        "split_digest": results.split_digest,
        "recipe_digest": folder.recipe_digest(),
        "model_digest": model_digest(files),
        "git_commit": folder.git_commit(),
        "estimate": results.estimate,
        "beats_trivial": str(results.beats_trivial).lower(),
        "headline": results.headline.model_dump_json(),
        "metrics": json.dumps(
            {
                score.name: [score.value, score.low, score.high]
                for score in results.named()
                if score.value is not None
            }
        ),
        "model_files": json.dumps(dict(files), sort_keys=True),
    }
    if results.interval_reason:
        facts["interval_reason"] = results.interval_reason
    return {PREFIX + name: value for name, value in facts.items()}


def version_of(found: Any, aliases: Mapping[str, int]) -> Version | None:
    """Return the record of an MLflow model version; None where it was not registered by wsi-vit."""
    tags = {
        key.removeprefix(PREFIX): value
        for key, value in found.tags.items()
        if key.startswith(PREFIX)
    }
    if "model_files" not in tags or "headline" not in tags:
        return None
    number = int(found.version)
    plain = ("run_key", "estimate", "dataset_digest", "split_digest", "recipe_digest")
    return Version(
        name=found.name,
        version=number,
        run_id=found.run_id or "",
        created=datetime.fromisoformat(_iso(found.creation_timestamp)),
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        headline=Score.model_validate_json(tags["headline"]),
        beats_trivial=tags.get("beats_trivial") == "true",
        model_digest=tags.get("model_digest", UNKNOWN),
        git_commit=tags.get("git_commit", UNKNOWN),
        decision=tags.get("decision"),  # type: ignore[arg-type]  (pydantic checks the word)
        files=json.loads(tags["model_files"]),
        **{name: tags.get(name, UNKNOWN) for name in plain},
    )


def _iso(milliseconds: int) -> str:
    from datetime import UTC

    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
