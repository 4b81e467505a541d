"""Where a model's first weights come from: the hub, a folder, or a configuration."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from wsi_vit.errors import ModelError
from wsi_vit.models.checkpoint import checkpoint_digest, weight_files
from wsi_vit.section import Section
from wsi_vit.store import digest_of

_WANTED = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]
_PATIENCE_S = 2.0
"""How long the hub may take to answer at all before it counts as out of reach."""


class HubStart(Section):
    """A checkpoint named as on the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    id: str = Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)?$")
    """Such as `google/vit-base-patch16-224-in21k`."""
    revision: str = "main"
    """A branch, a tag or, for reproducible runs, a commit."""

    def folder(self) -> Path:
        """Return the local copy; the network is touched only where there is none.

        Raises:
            ModelError: It is not cached and the hub is out of reach, or does not know it.
        """
        return self._cached() or self._fetched()

    def digest(self) -> str:
        """Return the sha256 of the checkpoint's configuration and weights."""
        return checkpoint_digest(self.folder())

    def _cached(self) -> Path | None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            found = snapshot_download(self.id, revision=self.revision, local_files_only=True)
        except LocalEntryNotFoundError:
            return None
        except HFValidationError as error:
            raise ModelError(
                f"No checkpoint of the hub can have this name ({_first_line(error)})",
                got=self.id,
                remedy="Name it as the hub does: `owner/name`",
            ) from error
        # A cache may hold the configuration alone: then the weights are still to be fetched.
        return Path(found) if weight_files(Path(found)) else None

    def _fetched(self) -> Path:
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise self._missing("HF_HUB_OFFLINE is set")
        self._knock()
        try:
            found = snapshot_download(self.id, revision=self.revision, allow_patterns=_WANTED)
        except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
            raise self._missing(_first_line(error)) from error
        return Path(found)

    def _knock(self) -> None:
        """Ask the hub once: its client would try for half a minute before it gives up."""
        import httpx
        from huggingface_hub import constants

        try:
            httpx.head(constants.ENDPOINT, timeout=_PATIENCE_S)
        except httpx.HTTPError as error:
            reason = f"{constants.ENDPOINT} does not answer: {_first_line(error)}"
            raise self._missing(reason) from error

    def _missing(self, reason: str) -> ModelError:
        return ModelError(
            "A base checkpoint is not on this machine and cannot be fetched",
            got=f"{self.id}@{self.revision} ({reason})",
            remedy=(
                f"Where there is a network, run `hf download {self.id} --revision {self.revision}`"
                " and bring the folder it prints; then name it with"
                " `start: {kind: folder, path: ...}`, or copy the cache that HF_HOME names"
            ),
        )


class FolderStart(Section):
    """A checkpoint in a local folder, laid out as on the hub."""

    kind: Literal["folder"] = "folder"
    path: Path
    """Holds config.json and model.safetensors."""

    def folder(self) -> Path:
        """Return the folder.

        Raises:
            ModelError: There is no such folder, or no configuration in it.
        """
        path = self.path.expanduser()
        if (path / "config.json").is_file():
            return path
        raise ModelError(
            "No checkpoint in this folder" if path.is_dir() else "No such folder",
            got=path,
            remedy="Name a folder that holds config.json and model.safetensors",
        )

    def digest(self) -> str:
        """Return the sha256 of the checkpoint's configuration and weights."""
        return checkpoint_digest(self.folder())


class ConfigStart(Section):
    """Random weights, drawn for a configuration."""

    kind: Literal["config"] = "config"
    options: dict[str, Any] = Field(default_factory=dict)
    """What differs from the defaults; each kind of model says what it knows."""

    def digest(self) -> str:
        """Return the sha256 of the options."""
        return digest_of(self)


Start = Annotated[HubStart | FolderStart | ConfigStart, Field(discriminator="kind")]
"""The first weights of a model."""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
