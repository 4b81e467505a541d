"""A table of what images show: a CSV with a row an image and a column a label.

`file` is the image's path below the root. Of its other columns `patient`, `site` and `split` say
whom the image is of, where it is from and which split it is in; any other is a label, whose cells
hold 1 (present), 0 (absent) or nothing (not known). 1.0 and 0.0, which is how pandas writes whole
numbers beside empty cells, mean the same.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from wsi_vit.datasets.images import refuse, split_named
from wsi_vit.errors import DatasetError
from wsi_vit.labels import IGNORE_ID

FILE = "file"
_OF_THE_IMAGE = ("patient", "site", "split")
_VALUES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "": IGNORE_ID}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """What the table says of one image; empty text where it says nothing."""

    patient: str
    site: str
    split: str
    """As one of ours."""
    told: Mapping[str, int]
    """By label: 1 present, 0 absent, 255 not known."""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A table that was read and found without faults."""

    labels: tuple[str, ...]
    """Columns that are labels, in their order."""
    rows: Mapping[str, TableRow]
    """By path below the root, with `/`."""

    @property
    def names_patients(self) -> bool:
        """Whether it says of every image whom it is of."""
        return bool(self.rows) and all(row.patient for row in self.rows.values())


def read_label_table(path: Path) -> LabelTable:
    """Read a table; one that was read before and has not changed since is not read again.

    Raises:
        DatasetError: It is not there, or has faults; all at once.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise DatasetError(
            f"The table of labels cannot be read ({error.strerror})",
            got=path,
            remedy="Name a CSV below `root` in source.table",
        ) from error


@lru_cache(maxsize=2)
def _read(path: Path, _stamp: int) -> LabelTable:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        header, *lines = [line for line in csv.reader(stream) if line] or [[]]
    header = [name.strip() for name in header]
    labels = tuple(name for name in header if name not in (FILE, *_OF_THE_IMAGE))
    refuse(list(_faults_of_header(header, labels)), path)
    problems: list[str] = []
    rows = [_row(number, line, header, problems) for number, line in enumerate(lines, start=2)]
    times = Counter(name for name, _ in rows)
    problems += [f"{name} has {count} rows" for name, count in times.items() if count > 1]
    refuse(problems, path)
    return LabelTable(labels, dict(rows))


def _faults_of_header(header: list[str], labels: tuple[str, ...]) -> Iterator[str]:
    if FILE not in header:
        yield f"no column `{FILE}` (but {', '.join(header) or 'none'})"
    if not labels:
        yield f"no column of a label beside {', '.join(header) or 'none'}"
    yield from (f"two columns {name!r}" for name, n in Counter(header).items() if n > 1)


def _row(
    number: int, line: list[str], header: list[str], problems: list[str]
) -> tuple[str, TableRow]:
    """Return the path of a row and what it says; whatever is wrong with it is a problem."""
    if len(line) != len(header):
        problems.append(f"line {number}: {len(line)} cells, not {len(header)}")
    cells = {name: cell.strip() for name, cell in zip(header, line, strict=False)}
    file, of_image = cells.pop(FILE, ""), {name: cells.pop(name, "") for name in _OF_THE_IMAGE}
    split = split_named(of_image["split"]) if of_image["split"] else ""
    if of_image["split"] and not split:
        problems.append(f"line {number}: {of_image['split']!r} is no split")
    odd = [f"{name} {cell!r}" for name, cell in cells.items() if cell not in _VALUES]
    if odd:
        problems.append(f"line {number}: {', '.join(odd[:3])} (1, 0, or nothing for not known)")
    place = PurePosixPath(file)
    if not file or place.is_absolute() or ".." in place.parts:
        problems.append(f"line {number}: {file!r} is no path below the root")
    told = {name: _VALUES.get(cell, IGNORE_ID) for name, cell in cells.items()}
    row = TableRow(patient=of_image["patient"], site=of_image["site"], split=split, told=told)
    return place.as_posix(), row
