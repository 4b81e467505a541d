"""Tables of pictures in parquet files, as the Hugging Face hub keeps them.

The files are read column by column and one row group at a time; a picture is the bytes that its
cell holds.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsi_vit.datasets.images import bytes_digest
from wsi_vit.errors import DatasetError

if TYPE_CHECKING:
    from datasets import Features

_NUMBERED = re.compile(r"^(?P<split>.+?)-\d{5}-of-(?P<total>\d{5})")
"""Files of one split, such as `train-00000-of-00002.parquet`."""

_PLAIN_FOLDERS = ("", "data", "default")
"""Folders that stand for the configuration without a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One parquet file of a repository."""

    path: Path
    config: str
    """Empty text for the configuration without a name."""
    split: str
    total: int
    """How many files the split has, where its name says so, else 0."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The picture in one cell of a parquet file."""

    path: Path
    stamp: int
    """When the file was changed last, nanoseconds."""
    column: str
    group: int
    row: int
    """Row within its row group."""

    def digest(self) -> str:
        """Return the sha256 of the picture's bytes; empty text where the cell is empty."""
        data = self._bytes()
        return bytes_digest(data) if data else ""

    def read(self) -> bytes:
        """Return the picture's bytes."""
        data = self._bytes()
        if not data:
            raise ValueError(f"holds no bytes in column {self.column!r}")
        return data

    def _bytes(self) -> bytes | None:
        value = _column(self.path, self.stamp, self.group, self.column)[self.row].as_py()
        return value.get("bytes") if isinstance(value, dict) else value


def parts_in(folder: Path) -> list[Part]:
    """Return the parquet files below a folder, by path.

    Known are `data/train-00000-of-00001.parquet` (as `push_to_hub` writes), the same below a
    configuration's name, `default/train/0000.parquet` (the hub's own conversion), `train.parquet`.
    """
    return [_part(path, folder) for path in sorted(folder.rglob("*.parquet"))]


def incomplete(parts: list[Part]) -> dict[str, str]:
    """Return the splits some of whose files are lacking, with how many there are of how many."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(f"{part.config} {part.split}".strip(), []).append(part)
    return {
        name: f"{len(files)} of {files[0].total} files"
        for name, files in found.items()
        if files[0].total > len(files)
    }


def features_of(part: Part) -> "Features":
    """Return the columns of a file.

    Raises:
        DatasetError: It is no parquet file, or is damaged.
    """
    from datasets import Features

    return Features.from_arrow_schema(_opened(part.path).schema_arrow)


def rows_of(part: Part, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file with the values of some (small) columns, by role.

    Each row also has `group` and `row`, its place.

    Raises:
        DatasetError: The file is damaged.
    """
    file = _opened(part.path)
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        table = _read(file, group, sorted(set(columns.values())), part.path)
        values = {role: table[column].to_pylist() for role, column in columns.items()}
        for row in range(rows):
            yield {role: found[row] for role, found in values.items()} | {
                "group": group,
                "row": row,
            }


def _part(path: Path, folder: Path) -> Part:
    above = [name for name in path.relative_to(folder).parts[:-1] if name not in _PLAIN_FOLDERS]
    found = _NUMBERED.match(path.stem)
    if found:
        split, total = found["split"], int(found["total"])
    elif path.stem.isdigit() and above:
        split, total = above.pop(), 0
    else:
        split, total = path.stem, 0
    return Part(path=path, config="/".join(above), split=split, total=total)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error


def _read(file: pq.ParquetFile, group: int, columns: list[str], path: Path) -> pa.Table:
    try:
        return file.read_row_group(group, columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error


@lru_cache(maxsize=2)
def _column(path: Path, stamp: int, group: int, column: str) -> pa.Array:
    """Return one column of one row group; images and masks are read by turns, hence two."""
    del stamp  # it only tells a changed file from what was read before
    return _read(_opened(path), group, [column], path)[column].combine_chunks()


def _damaged(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"A parquet file cannot be read ({str(error).splitlines()[0]})",
        got=path,
        remedy="Fetch it again: git LFS leaves a pointer of some hundred bytes where a file is due",
    )
