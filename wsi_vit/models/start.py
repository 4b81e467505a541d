"""Where a model's first weights come from: the hub, a folder, or a configuration."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from wsi_vit.errors import ModelError
from wsi_vit.models.checkpoint import checkpoint_digest, weight_files
from wsi_vit.section import Section
from wsi_vit.store import digest_of
from wsi_vit.store.hub import HUB_ID, NotOnThisMachine, Repository

_WANTED = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]


class HubStart(Section):
    """A checkpoint named as on the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    id: str = Field(pattern=HUB_ID)
    """Such as `google/vit-base-patch16-224-in21k`."""
    revision: str = "main"
    """A branch, a tag or, for reproducible runs, a commit."""

    def folder(self) -> Path:
        """Return the local copy; the network is touched only where there is none.

        Raises:
            ModelError: It is not cached and the hub is out of reach, or does not know it.
        """
        wanted = Repository(id=self.id, revision=self.revision, kind="model", wanted=_WANTED)
        try:
            # A cache may hold the configuration alone: then the weights are still to be fetched.
            return wanted.folder(lambda folder: bool(weight_files(folder)))
        except ValueError as error:
            raise ModelError(
                f"No checkpoint of the hub can have this name ({error})",
                got=self.id,
                remedy="Name it as the hub does: `owner/name`",
            ) from error
        except NotOnThisMachine as error:
            raise ModelError(
                "A base checkpoint is not on this machine and cannot be fetched",
                got=f"{self.id}@{self.revision} ({error})",
                remedy=(
                    f"Where there is a network, run `{wanted.command}`"
                    " and bring the folder it prints; then name it with"
                    " `start: {kind: folder, path: ...}`, or copy the cache that HF_HOME names"
                ),
            ) from error

    def digest(self) -> str:
        """Return the sha256 of the checkpoint's configuration and weights."""
        return checkpoint_digest(self.folder())


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
