"""Files that are whole or absent, and their digests."""

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_BLOCK_BYTES = 1 << 20


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def flush_file(path: Path) -> None:
    """Ask the disk to keep a file's bytes, or a folder's names, before we go on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def write_whole(path: Path) -> Generator[Path]:
    """Yield a scratch path beside `path`; it becomes `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield scratch
        flush_file(scratch)
        scratch.replace(path)
        flush_file(path.parent)
    finally:
        scratch.unlink(missing_ok=True)
