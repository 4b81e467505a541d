"""A published folder goes to the Hugging Face hub; without a network, the command that does it."""

import shlex
from pathlib import Path

from wsi_vit.errors import ServiceError
from wsi_vit.section import Section
from wsi_vit.store.hub import NotOnThisMachine, refuse_offline


class Upload(Section):
    """How an upload went."""

    folder: Path
    repo: str
    url: str | None
    """Where it lies on the hub; None for a dry run."""
    reason: str
    """Why it was a dry run; empty text otherwise."""
    command: str
    """What uploads the folder by hand."""

    @property
    def sentence(self) -> str:
        """What a person must know of it."""
        if self.url:
            return f"Uploaded {self.folder} to {self.url} (private until you say otherwise there)."
        return f"Dry run ({self.reason}): {self.folder} is ready. To upload it:\n{self.command}"


def upload_dataset(folder: Path, repo: str) -> Upload:
    """Upload a folder as a dataset of the hub; a new repository is private until its owner says.

    Offline (`HF_HUB_OFFLINE=1`, or the hub does not answer) nothing is sent: the result says why,
    and which command sends it.

    Raises:
        ServiceError: The hub answers and refuses.
    """
    parts = ["hf", "upload", repo, str(folder), ".", "--repo-type", "dataset", "--private"]
    reason = _why_offline()
    return Upload(
        folder=folder,
        repo=repo,
        url=None if reason else _sent(folder, repo),
        reason=reason,
        command=shlex.join(parts),
    )


def _why_offline() -> str:
    """Return why nothing can be sent; empty text where the hub answers."""
    try:
        refuse_offline()
    except NotOnThisMachine as state:
        return str(state)
    return ""


def _sent(folder: Path, repo: str) -> str:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        url = api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(
            folder_path=folder,
            repo_id=repo,
            repo_type="dataset",
            commit_message=f"wsi-vit {folder.name}",
            delete_patterns=["data/*"],  # shards of an earlier revision
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, httpx.HTTPError) as error:
        raise ServiceError(
            f"The hub does not take the dataset: {str(error).strip().splitlines()[0]}",
            got=repo,
            remedy="Log in with `hf auth login` to an account that may write there, and run it "
            "again; what was sent already is kept",
        ) from error
    return str(url)
