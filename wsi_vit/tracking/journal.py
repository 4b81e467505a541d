"""The journal of a run: one line of JSON a record, appended and never changed.

Training needs no server: what it has to say goes here first. A line is written by one `write` to a
file opened for appending, under the kernel's lock, so the trainer and its parent may share it. A
line that a kill tore is not believed: readers stop before it, the next writer cuts it off.
"""

import fcntl
import json
import math
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from wsi_vit.errors import StoreError
from wsi_vit.section import Section

ATTEMPT, EPOCH, STEP, FINISHED, FAILED = "attempt", "epoch", "step", "finished", "failed"
"""The kinds that `sync` understands; any other kind is kept and passed over."""

_TAIL_BYTES = 1 << 16


class Record(Section):
    """One line of a journal."""

    sequence: int = Field(ge=1)
    """1, 2, 3, … without a gap."""
    kind: str = Field(min_length=1)
    time: AwareDatetime
    """When it was written, UTC; the time of every point that it becomes in MLflow."""
    payload: dict[str, Any]

    @property
    def time_ms(self) -> int:
        """Milliseconds since 1970, as MLflow counts."""
        return round(self.time.timestamp() * 1000)


class Journal:
    """The journal at a path; holds nothing open, so it survives forks and kills alike."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, payload: Mapping[str, Any] | BaseModel) -> Record:
        """Write one record; on return its bytes are on the disk, unless it is a mere `step`.

        Numbers that are not finite are written as null, as JSON has no other word for them.

        Raises:
            StoreError: The disk is full, the file cannot be written, or it is damaged.
        """
        plain = payload.model_dump(mode="json") if isinstance(payload, BaseModel) else payload
        try:
            with self._locked() as descriptor:
                record = Record(
                    sequence=_mend(descriptor, self.path) + 1,
                    kind=kind,
                    time=_now(),
                    payload=_finite(dict(plain)),
                )
                _write_line(descriptor, _line(record))
                if kind != STEP:
                    os.fsync(descriptor)
        except OSError as error:
            raise StoreError(
                f"The journal cannot be written: {error.strerror}",
                got=self.path,
                remedy="Free space or mend the permissions, then resume the run",
            ) from error
        return record

    def read(self, *, after: int = 0) -> Iterator[Record]:
        """Yield the records with a sequence number above `after`, in order.

        A run that has written nothing yet has no records. A torn last line is passed over.

        Raises:
            StoreError: A finished line is no record, or a number is missing.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    return
                record = _parse(line, path=self.path, number=number)
                if record.sequence > after:
                    yield record

    @contextmanager
    def _locked(self) -> Generator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _line(record: Record) -> bytes:
    return record.model_dump_json().encode() + b"\n"


def _write_line(descriptor: int, line: bytes) -> None:
    """Write it all or nothing: a disk that fills up in mid-line leaves the file as it was."""
    before = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(28, "No space left on device")
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _mend(descriptor: int, path: Path) -> int:
    """Cut off a torn last line; return the number of the last whole record, 0 where none is."""
    size = os.fstat(descriptor).st_size
    whole = _end_of_last_line(descriptor, size)
    if whole < size:
        os.ftruncate(descriptor, whole)
    if not whole:
        return 0
    start = _end_of_last_line(descriptor, whole - 1)
    return _parse(os.pread(descriptor, whole - start, start), path=path, number=None).sequence


def _end_of_last_line(descriptor: int, size: int) -> int:
    """Return the offset behind the last newline among the first `size` bytes, 0 without one."""
    end = size
    while end:
        start = max(0, end - _TAIL_BYTES)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _parse(line: bytes, *, path: Path, number: int | None) -> Record:
    try:
        record = Record.model_validate(json.loads(line))
    except (ValueError, ValidationError) as error:
        raise _damaged(path, number, f"no record ({error.__class__.__name__})") from error
    if number is not None and record.sequence != number:
        raise _damaged(path, number, f"it carries the number {record.sequence}")
    return record


def _damaged(path: Path, number: int | None, why: str) -> StoreError:
    line = "the last line" if number is None else f"line {number}"
    return StoreError(
        f"Damaged journal: {why}",
        got=f"{path}, {line}",
        remedy="Bring the file back from a copy, or delete it and train again",
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
