"""A registered version brought here: named files only, each compared with its sha256.

MLflow's own loaders may run what they find. Nothing is opened here before its bytes are known to be
those that were registered, and what else lies beside them is never touched.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wsi_vit.errors import RegistryError
from wsi_vit.store import file_digest
from wsi_vit.tracking.model_folder import check_names, model_digest, model_files
from wsi_vit.tracking.packaging import INSIDE
from wsi_vit.tracking.versions import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient


def fetch(version: Version, client: "MlflowClient", *, uri: str, cache: Path) -> Path:
    """Return the local, verified model folder of a version, fetching it where it is missing.

    Raises:
        RegistryError: A file may carry code, or bytes differ from those that were registered.
    """
    check_names(version.files, where=version.uri)
    if model_digest(version.files) != version.model_digest:
        raise _tampered(version, "its list of files")
    folder = cache / version.model_digest[:32]
    if folder.is_dir() and not _differing(folder, version):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".scratch-") as name:
        root = client.get_model_version_download_uri(version.name, str(version.version))
        fetched = _download(version, root, uri=uri, scratch=Path(name))
        for differing in _differing(fetched, version):
            raise _tampered(version, differing)
        model_files(fetched)
        _settle(fetched, folder, version)
    return folder


def _settle(fetched: Path, folder: Path, version: Version) -> None:
    try:
        fetched.rename(folder)
    except OSError:  # another process was quicker
        if not folder.is_dir() or _differing(folder, version):
            raise


def _download(version: Version, root: str, *, uri: str, scratch: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    target = scratch / "model"
    for name in version.files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        got = download_artifacts(
            artifact_uri=f"{root}/{INSIDE}/{name}",
            dst_path=tempfile.mkdtemp(dir=scratch),
            tracking_uri=uri,
        )
        Path(got).rename(target / name)
    return target


def _differing(folder: Path, version: Version) -> list[str]:
    """Return the files that are missing, too many, or not the bytes that were registered."""
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return sorted(
        name
        for name in here | set(version.files)
        if name not in here
        or (folder / name).is_symlink()
        or file_digest(folder / name) != version.files.get(name)
    )


def _tampered(version: Version, what: str) -> RegistryError:
    return RegistryError(
        f"Not the bytes that were registered: {what}",
        got=version.uri,
        remedy="Do not use this version; register its run again and find out who changed it",
    )


def default_cache() -> Path:
    """Return where fetched models lie on this computer."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "wsi-vit" / "models"
