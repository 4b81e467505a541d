"""How far one MLflow has been fed from one run: a small file in the run's folder."""

import fcntl
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, ValidationError

from wsi_vit.section import Section
from wsi_vit.store import write_whole
from wsi_vit.tracking.client import absolute_uri


class Bookmark(Section):
    """How far one MLflow has been fed from one journal."""

    run_id: str
    sequence: int = 0
    """The last record whose points were acknowledged."""
    files: dict[str, str] = Field(default_factory=dict)
    """The sha256 of each file it was given, by path in the run's folder."""


@contextmanager
def bookmark_of(run: Path, uri: str) -> Generator[Path]:
    """Yield the bookmark's path; of several processes on one run and one MLflow, one goes on."""
    name = hashlib.sha256(absolute_uri(uri).encode()).hexdigest()[:12]
    path = run / f".mlflow-{name}.json"
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(descriptor)


def read_bookmark(path: Path) -> Bookmark | None:
    """Return the bookmark; a damaged one is as good as none, for MLflow is asked instead."""
    try:
        return Bookmark.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_bookmark(path: Path, bookmark: Bookmark) -> None:
    """Write the bookmark, whole or not at all."""
    with write_whole(path) as scratch:
        scratch.write_text(bookmark.model_dump_json(indent=1))
