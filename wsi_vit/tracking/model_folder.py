"""A `model/` folder on its way to the registry and back: the files it may hold, their digests.

A version's tags name every file with its sha256. What comes back is believed only if it is exactly
those files with exactly those bytes; none is opened before, and none is ever a pickle.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from wsi_vit.errors import RegistryError
from wsi_vit.store import digest_of, file_digest

NEEDED = ("config.json", "labels.json", "model.safetensors", "preprocessing.json")
PLAIN = (".json", ".md", ".safetensors", ".txt")
"""What a model folder may hold; anything else could carry code."""


def model_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a model folder, by path with forward slashes.

    Raises:
        RegistryError: A needed file is missing, or one is there that may not be.
    """
    if not folder.is_dir():
        raise RegistryError("No model folder", got=folder, remedy="Train the run to its end first")
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = [path.relative_to(folder).as_posix() for path in paths]
    check_names(names, where=str(folder))
    for path in paths:
        if path.is_symlink():
            raise _refused("A link in a model folder", str(path))
    _refuse_code(folder / "config.json")
    return {name: file_digest(folder / name) for name in names}


def model_digest(files: Mapping[str, str]) -> str:
    """Return the identity of a model: the digest of its files' digests."""
    return digest_of(dict(files))


def check_names(names: Iterable[str], *, where: str) -> None:
    """Refuse file names that no model of ours has, before anything is fetched or opened.

    Raises:
        RegistryError: A needed file is missing, one is of a kind that may carry code, or a name
            would lie outside the folder.
    """
    given = set(names)
    for name in sorted(given):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise _refused("A file name that leaves the model's folder", f"{name} in {where}")
        if path.suffix not in PLAIN:
            raise _refused("A file that may carry code", f"{name} in {where}")
    missing = sorted(set(NEEDED) - given)
    if missing:
        raise RegistryError(
            f"Not a whole model: {', '.join(missing)} missing",
            got=where,
            remedy="Name a folder that a run of wsi-vit saved as model/",
        )


def _refuse_code(config: Path) -> None:
    try:
        content = json.loads(config.read_bytes())
    except ValueError as error:
        raise _refused("A config.json that is no JSON", str(config)) from error
    if "auto_map" in content:
        raise _refused("A config.json that names code of its own (auto_map)", str(config))


def _refused(what: str, got: str) -> RegistryError:
    return RegistryError(
        f"{what} is refused",
        got=got,
        known=[f"*{suffix}" for suffix in PLAIN],
        remedy="Use a model that wsi-vit saved: safetensors and JSON, nothing else",
    )
