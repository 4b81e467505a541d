"""Repositories of the Hugging Face hub, as they lie on this machine: the local copy comes first."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HUB_ID = r"^\w[\w.-]*(/\w[\w.-]*)?$"
"""What an id of the hub looks like: `owner/name`."""

_PATIENCE_S = 2.0
"""How long the hub may take to answer at all before it counts as out of reach."""


class NotOnThisMachine(LookupError):  # noqa: N818  (a state of affairs; callers say what it means)
    """A repository has no local copy and cannot be fetched; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository of the hub at one revision."""

    id: str
    revision: str
    kind: Literal["model", "dataset"]
    wanted: Sequence[str]
    """Which of its files are fetched, as globs."""

    @property
    def command(self) -> str:
        """The command that brings it, where there is a network."""
        kind = "" if self.kind == "model" else f" --repo-type {self.kind}"
        return f"hf download {self.id}{kind} --revision {self.revision}"

    def folder(self, is_whole: Callable[[Path], bool]) -> Path:
        """Return the local copy; the network is touched only where there is none that is whole.

        Raises:
            NotOnThisMachine: It is not cached and the hub is out of reach, or does not know it.
            ValueError: No repository can have this name.
        """
        found = self.cached()
        return found if found is not None and is_whole(found) else self._fetched()

    def cached(self) -> Path | None:
        """Return what the hub's cache holds of it, whole or not; None where it holds nothing.

        Raises:
            ValueError: No repository can have this name.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            found = snapshot_download(
                self.id, repo_type=self.kind, revision=self.revision, local_files_only=True
            )
        except LocalEntryNotFoundError:
            return None
        except HFValidationError as error:
            raise ValueError(_first_line(error)) from error
        return Path(found)

    def _fetched(self) -> Path:
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

        refuse_offline()
        try:
            found = snapshot_download(
                self.id,
                repo_type=self.kind,
                revision=self.revision,
                allow_patterns=list(self.wanted),
            )
        except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
            raise NotOnThisMachine(_first_line(error)) from error
        return Path(found)


def refuse_offline() -> None:
    """Ask the hub once whether it answers: its client would try for half a minute.

    Raises:
        NotOnThisMachine: It does not, or HF_HUB_OFFLINE forbids to ask.
    """
    import httpx
    from huggingface_hub import constants

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise NotOnThisMachine("HF_HUB_OFFLINE is set")
    try:
        httpx.head(constants.ENDPOINT, timeout=_PATIENCE_S)
    except httpx.HTTPError as error:
        reason = f"{constants.ENDPOINT} does not answer: {_first_line(error)}"
        raise NotOnThisMachine(reason) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
