"""Model versions in MLflow: registered, promoted, rolled back, and fetched to be trusted.

MLflow's aliases have no history and no compare-and-set, so every decision is first written to a
ledger (tags of the registered model that are added and never changed), then the aliases move.
MLflow's own loaders may run what they find; ours fetches named files, compares their sha256 and
hands over a folder of safetensors and JSON.
"""

import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from wsi_vit.errors import RegistryError
from wsi_vit.tracking.client import absolute_uri, open_client, speaking_to
from wsi_vit.tracking.fetching import default_cache, fetch
from wsi_vit.tracking.model_folder import model_digest, model_files
from wsi_vit.tracking.packaging import save_package
from wsi_vit.tracking.promotion import champions, decide
from wsi_vit.tracking.run_folder import Results, RunFolder
from wsi_vit.tracking.sync import sync_run
from wsi_vit.tracking.versions import (
    PREFIX,
    Decision,
    Outcome,
    RegisteredModel,
    Version,
    tags_of,
    version_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
_FAMILY = "wsi-vit-"
_LEDGER = PREFIX + "ledger."
_REFERENCE = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>\d+))")


class Registry:
    """The registry at an MLflow address, such as `sqlite:///runs/mlflow.db`."""

    def __init__(self, uri: str, *, cache: Path | None = None) -> None:
        self.uri = absolute_uri(uri)
        self.cache = cache or default_cache()
        """Where fetched models lie, by the digest of their content."""

    @cached_property
    def _client(self) -> "MlflowClient":
        return open_client(self.uri)

    def register(self, run: Path) -> Version:
        """Make a run's model a version of `wsi-vit-<recipe>`, and its challenger.

        A run that is registered with these very files already keeps its version.

        Raises:
            RegistryError: The run has no model or no evaluation, or they do not belong together.
            ServiceError: MLflow cannot be reached.
        """
        folder = RunFolder.at(run)
        files = model_files(folder.model)
        tags = tags_of(folder, _results(folder, files), files)
        run_id = sync_run(folder.path, self.uri).run_id
        name = _FAMILY + folder.recipe
        with speaking_to(self.uri):
            found = self._registered(name, folder.key, model_digest(files))
            if found is None:
                found = self._create(name, folder, run_id, tags)
                self._client.set_registered_model_alias(name, CHALLENGER, str(found))
            return self._version(name, found)

    def models(self) -> tuple[RegisteredModel, ...]:
        """Return every registered model of wsi-vit, by name.

        Raises:
            ServiceError: MLflow cannot be reached.
        """
        with speaking_to(self.uri):
            found = self._client.search_registered_models(filter_string=f"name LIKE '{_FAMILY}%'")
            return tuple(self._model(name) for name in sorted(item.name for item in found))

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return the versions of a model, the newest first.

        Raises:
            RegistryError: There is no such model.
            ServiceError: MLflow cannot be reached.
        """
        with speaking_to(self.uri):
            return self._model(name).versions

    def ledger(self, name: str) -> tuple[Decision, ...]:
        """Return every decision about a model, the oldest first.

        Raises:
            RegistryError: There is no such model.
            ServiceError: MLflow cannot be reached.
        """
        with speaking_to(self.uri):
            tags = self._found(name).tags
            entries = sorted((k, v) for k, v in tags.items() if k.startswith(_LEDGER))
            return tuple(Decision.model_validate_json(value) for _, value in entries)

    def promote(self, name: str, version: int | None = None) -> Decision:
        """Compare a version (the challenger where none is named) with the champion, and decide.

        Whatever is decided, refusals too, goes into the ledger first.

        Raises:
            RegistryError: No such version; or it may never be champion, or cannot be compared.
            ServiceError: MLflow cannot be reached.
        """
        with speaking_to(self.uri):
            model = self._model(name)
            candidate = _pick(model, model.challenger if version is None else version)
            champion = None if model.champion is None else _pick(model, model.champion)
            try:
                outcome, reason = decide(candidate, champion)
            except RegistryError as error:
                self._note(candidate, "refused", error.what, before=champion, after=champion)
                raise
            after = champion if outcome == "kept" else candidate
            decision = self._note(candidate, outcome, reason, before=champion, after=after)
            if outcome != "kept":
                self._crown(name, candidate.version, previous=model.champion)
            return decision

    def rollback(self, name: str) -> Decision:
        """Make the previous champion champion again; the one before it becomes the previous.

        Raises:
            RegistryError: There is no previous champion.
            ServiceError: MLflow cannot be reached.
        """
        with speaking_to(self.uri):
            model = self._model(name)
            if model.champion is None or model.previous_champion in (None, model.champion):
                raise RegistryError(
                    "No previous champion to go back to",
                    got=name,
                    known=[f"version {v}" for v in champions(self.ledger(name))],
                    remedy="Promote another version instead",
                )
            fallen, back = _pick(model, model.champion), _pick(model, model.previous_champion)
            reason = f"version {back.version} is champion again in place of {fallen.version}"
            decision = self._note(fallen, "rolled_back", reason, before=fallen, after=back)
            older = [v for v in champions(self.ledger(name)) if v != back.version]
            self._crown(name, back.version, previous=older[-1] if older else None)
            return decision

    def resolve(self, reference: str) -> Path:
        """Return the local, verified model folder that a reference names.

        A reference is a folder (a model's, or a run's), `models:/<name>@<alias>` or
        `models:/<name>/<version>`. Fetched versions are kept by the digest of their content and
        read through again each time.

        Raises:
            RegistryError: Nothing is there, a file may carry code, or bytes differ from those that
                were registered.
            ServiceError: MLflow cannot be reached.
        """
        if not reference.startswith("models:"):
            return resolve_folder(Path(reference))
        with speaking_to(self.uri):
            version = self._referred(reference)
            return fetch(version, self._client, uri=self.uri, cache=self.cache)

    def _referred(self, reference: str) -> Version:
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise RegistryError(
                "Not a reference to a model",
                got=reference,
                known=["models:/<name>@<alias>", "models:/<name>/<version>"],
                remedy="Write it like one of these; wsi-vit models lists the names",
            )
        name, alias = match["name"], match["alias"]
        model = self._model(name)
        if alias is None:
            return _pick(model, int(match["version"]))
        target = self._aliases(name).get(alias)
        if target is None:
            raise RegistryError(
                f"No version carries the alias {alias}",
                got=reference,
                known=sorted(self._aliases(name)),
                remedy="Promote a version first (wsi-vit promote), or name one by its number",
            )
        return _pick(model, target)

    def _create(self, name: str, folder: RunFolder, run_id: str, tags: dict[str, str]) -> int:
        self._ensure_name(name)
        experiment = self._client.get_run(run_id).info.experiment_id
        logged = self._client.create_logged_model(experiment, name="model", source_run_id=run_id)
        with tempfile.TemporaryDirectory() as scratch:
            package = Path(scratch) / "package"
            save_package(folder.model, package, run_id=run_id, model_id=logged.model_id)
            self._client.log_model_artifacts(logged.model_id, str(package))
        ready: LoggedModel = self._client.finalize_logged_model(logged.model_id, "READY")
        created = self._client.create_model_version(
            name, ready.artifact_location, run_id=run_id, tags=tags, model_id=ready.model_id
        )
        return int(created.version)

    def _ensure_name(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _registered(self, name: str, run_key: str, digest: str) -> int | None:
        for version in self._versions(name):
            if (version.run_key, version.model_digest) == (run_key, digest):
                return version.version
        return None

    def _note(
        self,
        version: Version,
        outcome: Outcome,
        reason: str,
        *,
        before: Version | None,
        after: Version | None,
    ) -> Decision:
        """Write a decision to the ledger, and its outcome to the version."""
        decision = Decision(
            name=version.name,
            version=version.version,
            outcome=outcome,
            reason=reason,
            champion_before=before and before.version,
            champion_after=after and after.version,
            time=datetime.now(UTC),
        )
        key = f"{_LEDGER}{decision.time:%Y%m%dT%H%M%S.%f}.{uuid4().hex[:8]}"
        self._client.set_registered_model_tag(version.name, key, decision.model_dump_json())
        self._client.set_model_version_tag(
            version.name, str(version.version), f"{PREFIX}decision", outcome
        )
        return decision

    def _crown(self, name: str, version: int, *, previous: int | None) -> None:
        if previous is None:
            self._client.delete_registered_model_alias(name, PREVIOUS)
        else:
            self._client.set_registered_model_alias(name, PREVIOUS, str(previous))
        self._client.set_registered_model_alias(name, CHAMPION, str(version))

    def _model(self, name: str) -> RegisteredModel:
        aliases = self._aliases(name)
        return RegisteredModel(
            name=name,
            champion=aliases.get(CHAMPION),
            challenger=aliases.get(CHALLENGER),
            previous_champion=aliases.get(PREVIOUS),
            versions=tuple(self._versions(name)),
        )

    def _versions(self, name: str) -> Iterator[Version]:
        """Yield our versions, the newest first; what others registered by hand is left out."""
        found = self._client.search_model_versions(f"name = '{name}'")
        aliases = self._aliases(name) if found else {}
        for item in sorted(found, key=lambda item: -int(item.version)):
            version = version_of(item, aliases)
            if version is not None:
                yield version

    def _version(self, name: str, number: int) -> Version:
        return _pick(self._model(name), number)

    def _aliases(self, name: str) -> dict[str, int]:
        return {alias: int(number) for alias, number in self._found(name).aliases.items()}

    def _found(self, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        found = self._client.search_registered_models(filter_string=f"name LIKE '{_FAMILY}%'")
        raise RegistryError(
            "No such registered model",
            got=name,
            known=sorted(item.name for item in found),
            remedy="Register a run first (wsi-vit register), or name one of these",
        )


def resolve_folder(path: Path) -> Path:
    """Return the model folder at a path, which may be a run's; files and names are checked.

    Raises:
        RegistryError: It is no model folder, or holds a file that may carry code.
    """
    folder = path / "model" if (path / "model" / "config.json").is_file() else path
    if not folder.is_dir():
        raise RegistryError(
            "No model there",
            got=path,
            known=["a folder", "models:/<name>@<alias>", "models:/<name>/<version>"],
            remedy="Name a model's or a run's folder, or a registered version",
        )
    model_files(folder)
    return folder


def _results(folder: RunFolder, files: dict[str, str]) -> Results:
    results = folder.results()
    if results is None:
        raise RegistryError(
            "The run was never evaluated", got=folder.path, remedy="Evaluate it, then register it"
        )
    if results.model_digest not in (None, files["model.safetensors"]):
        raise RegistryError(
            "metrics.json speaks of other weights than those in model/",
            got=f"{results.model_digest} in {folder.path}",
            known=[files["model.safetensors"]],
            remedy="Evaluate the run again, then register it",
        )
    return results


def _pick(model: RegisteredModel, number: int | None) -> Version:
    for version in model.versions:
        if version.version == number:
            return version
    raise RegistryError(
        "No such version of wsi-vit's",
        got=f"{model.name}, version {number}",
        known=[version.version for version in model.versions],
        remedy="Name one of these",
    )
