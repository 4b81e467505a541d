"""The store: find an artefact by its shape, or make it once."""

import fcntl
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from wsi_vit.errors import StoreError
from wsi_vit.store.artefact import MANIFEST, Artefact, FileEntry, Manifest, read_manifest
from wsi_vit.store.canonical import canonical_json
from wsi_vit.store.files import file_digest, flush_file
from wsi_vit.store.shape import Shape

Make = Callable[[Path], dict[str, Any]]
"""Fills an empty folder and returns the facts found on the way."""


class Store:
    """A folder of artefacts, `<root>/<stage>/<key>/`.

    An artefact is made in a scratch folder on the same file system, its files are hashed and
    flushed, the manifest is written last, and one rename commits it. Whoever is killed before that
    leaves scratch behind, which the next maker of the same artefact sweeps. A kernel lock a key
    keeps two makers apart; it dies with its process.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder_of(self, shape: Shape) -> Path:
        """Return where the artefact of a shape lies, or would lie."""
        return self.root / shape.stage / shape.name

    def find(self, shape: Shape) -> Artefact | None:
        """Return the committed artefact of a shape, None where there is none."""
        folder = self.folder_of(shape)
        if not (folder / MANIFEST).exists():
            return None
        manifest = read_manifest(folder)
        if manifest.key != shape.key:
            raise StoreError(
                "An artefact's manifest does not belong to its folder",
                got=folder,
                remedy="Delete the folder and run its stage again",
            )
        return Artefact(folder=folder, manifest=manifest, reused=True)

    def ensure(self, shape: Shape, make: Make) -> Artefact:
        """Return the artefact of a shape; call `make` only where it is missing.

        Raises:
            StoreError: The disk is full, or the folder cannot be written.
        """
        found = self.find(shape)
        if found:
            return found
        with self._locked(shape):
            return self.find(shape) or self._make(shape, make)

    def artefacts(self, stage: str | None = None) -> Iterator[Artefact]:
        """Yield every committed artefact, by stage and key."""
        for path in sorted(self.root.glob(f"{stage or '*'}/*/{MANIFEST}")):
            if not path.parent.parent.name.startswith("."):
                yield Artefact(folder=path.parent, manifest=read_manifest(path.parent), reused=True)

    def _make(self, shape: Shape, make: Make) -> Artefact:
        self._sweep(shape)
        scratch = self.root / ".scratch" / f"{shape.stage}-{shape.name}-{uuid4().hex[:8]}"
        target = self.folder_of(shape)
        try:
            scratch.mkdir(parents=True)
            facts = make(scratch)
            manifest = Manifest(shape=shape, key=shape.key, facts=facts, files=_entries(scratch))
            (scratch / MANIFEST).write_text(canonical_json(manifest))
            flush_file(scratch / MANIFEST)
            flush_file(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch.rename(target)
            flush_file(target.parent)
        except OSError as error:
            raise _explained(error, target) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return Artefact(folder=target, manifest=manifest)

    def _sweep(self, shape: Shape) -> None:
        """Remove what dead makers left; the lock says that no live one is at work."""
        for stale in self.root.glob(f".scratch/{shape.stage}-{shape.name}-*"):
            shutil.rmtree(stale)
        target = self.folder_of(shape)
        if target.exists():  # a folder without manifest: deleted by hand, half
            shutil.rmtree(target)

    @contextmanager
    def _locked(self, shape: Shape) -> Generator[None]:
        path = self.root / ".locks" / f"{shape.stage}-{shape.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _entries(folder: Path) -> tuple[FileEntry, ...]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(1, thread_name_prefix="flush") as disk:
        kept = disk.map(flush_file, paths)  # the disk writes while we read
        entries = [
            FileEntry(
                path=path.relative_to(folder).as_posix(),
                sha256=file_digest(path),
                bytes=path.stat().st_size,
            )
            for path in paths
        ]
        for _ in kept:  # its errors are ours
            pass
    return tuple(entries)


def _explained(error: OSError, target: Path) -> StoreError:
    free = shutil.disk_usage(target.anchor or ".").free
    for parent in target.parents:
        if parent.exists():
            free = shutil.disk_usage(parent).free
            break
    return StoreError(
        f"Cannot write derived data: {error.strerror or error}",
        got=f"{target} ({free / 1e9:.1f} GB free there)",
        remedy="Free space or mend the permissions; finished work is kept, so run it again",
    )
