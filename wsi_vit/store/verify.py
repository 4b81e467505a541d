"""Read everything again and compare it with what was committed."""

from collections.abc import Iterator
from pathlib import Path

from wsi_vit.errors import StoreError
from wsi_vit.section import Section
from wsi_vit.store.artefact import MANIFEST, FileEntry, read_manifest
from wsi_vit.store.files import file_digest

_OTHERS = {".scratch", "checkpoints", "mlartifacts"}
"""Unfinished work, and what is verified whenever it is read: checkpoints, which have manifests of
their own kind, and MLflow's copies, which keep a run's manifest but not all of its files."""


class Fault(Section):
    """A file that is not what its manifest says."""

    path: Path
    problem: str


def verify_folder(root: Path) -> tuple[int, list[Fault]]:
    """Re-hash every artefact below a folder; return how many files were read, and the faults."""
    files, faults = 0, list[Fault]()
    for path in sorted(root.rglob(MANIFEST)):
        if not _OTHERS.isdisjoint(path.parts):
            continue
        try:
            manifest = read_manifest(path.parent)
        except StoreError as error:
            faults.append(Fault(path=path, problem=error.what))
            continue
        files += len(manifest.files)
        faults.extend(_faults(path.parent, manifest.files))
        if manifest.key != manifest.shape.key:
            faults.append(Fault(path=path, problem="the key is not the digest of the shape"))
    return files, faults


def _faults(folder: Path, files: tuple[FileEntry, ...]) -> Iterator[Fault]:
    for entry in files:
        path = folder / entry.path
        if not path.is_file():
            yield Fault(path=path, problem="missing")
        elif path.stat().st_size != entry.bytes:
            yield Fault(path=path, problem=f"{path.stat().st_size} bytes, not {entry.bytes}")
        elif file_digest(path) != entry.sha256:
            yield Fault(path=path, problem="other bytes than were committed")
