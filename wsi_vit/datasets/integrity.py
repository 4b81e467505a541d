"""Whether a dataset folder is the one that was built, and its shards are still theirs."""

from collections.abc import Iterator
from pathlib import Path

from wsi_vit.datasets.layout import LABELS_FOLDER, SIDECAR, SIDECAR_FOLDER, STATE, shard_paths
from wsi_vit.datasets.stains import STAINS
from wsi_vit.errors import DatasetError, StoreError
from wsi_vit.store import Manifest, file_digest, read_manifest

_SMALL = (
    "splits.json",
    "labels.json",
    f"{SIDECAR_FOLDER}/{SIDECAR}",
    *(f"{below}{STATE}" for below in ("", f"{LABELS_FOLDER}/", f"{SIDECAR_FOLDER}/")),
)
"""What is compared with the manifest at every opening; shards are for `wsi-vit verify`."""


def refuse_damage(folder: Path, manifest: Manifest) -> None:
    """Compare a dataset's small files and its shards' manifests with what was built.

    Raises:
        DatasetError: Something is missing, was changed, or was made anew; all is listed.
    """
    known = {entry.path: entry.sha256 for entry in manifest.files}
    small = (*_SMALL, *({STAINS} & known.keys()))
    if manifest.shape.stage != "dataset":
        raise DatasetError(
            "This is no dataset", got=folder, remedy="Name a folder of the stage `dataset`"
        )
    faults = [
        f"{name} is missing or was changed"
        for name in small
        if not (folder / name).is_file() or file_digest(folder / name) != known.get(name)
    ]
    faults += list(_shard_faults(folder, manifest))
    if faults:
        raise DatasetError(
            f"The dataset is not what was built: {'; '.join(faults[:5])}",
            got=folder,
            remedy="Move the store as a whole; or delete this folder and build it again",
        )


def _shard_faults(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Compare the manifests of the shards with the digests that the dataset was built from."""
    for below, role in (("", "pixels"), (LABELS_FOLDER, "labels")):
        try:
            paths = shard_paths(folder / below)
        except (OSError, ValueError, KeyError):
            continue  # said above
        built = {d for name, d in manifest.shape.inputs.items() if name.startswith(f"{role}/")}
        for path in paths:
            if path.resolve().is_relative_to(folder.resolve()):
                continue
            fault = _shard_fault(path, built)
            if fault:
                yield fault


def _shard_fault(path: Path, built: set[str]) -> str | None:
    name = "/".join(path.parts[-3:])
    try:
        shard = read_manifest(path.parent)
    except StoreError:
        return f"the shard {name} is gone"
    sizes = {entry.path: entry.bytes for entry in shard.files}
    if shard.digest not in built:
        return f"the shard {name} was made anew, and differs"
    if not path.is_file() or path.stat().st_size != sizes.get(path.name):
        return f"the shard {name} is gone or cut short"
    return None
