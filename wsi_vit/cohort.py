"""The cohort: which slides there are, whose they are, and what is known of each.

`cohort.csv` has the columns `slide, patient` and, optionally, `slide_id, site, label, annotations,
tissue_mask, mpp, split, stain`. Relative paths start at the file's own folder and must stay below
it; a file elsewhere is named by its absolute path. A folder of slides is a cohort too: there the
patient is taken from the file's name. All problems of a cohort are told at once, with their lines.

Outlines of a slide's tissue that lie beside it (`a.tissue.geojson`, `a.svs`) need no column.

A slide file that does not exist is no problem here: it is quarantined when it is opened, so that
one lost file does not stop the others.
"""

import csv
import io
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from wsi_vit.errors import CohortError
from wsi_vit.section import Section

Split = Literal["train", "validation", "test"]
"""What an example is used for."""

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

SLIDE_SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn"}
    | {".vms", ".vmu", ".bif", ".svslide", ".qptiff"}
)
"""What a file in a folder of slides is called."""

_REQUIRED = ("slide", "patient")
_FILES = ("annotations", "tissue_mask")
_COLUMNS = (*_REQUIRED, "slide_id", "site", "label", *_FILES, "mpp", "split", "stain")
TISSUE_SUFFIX = ".tissue.geojson"
"""What the outlines of a slide's tissue are called in place of the slide's own suffix."""
_MPP_WINDOW = (0.05, 10.0)
_LONGEST = 120
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class CohortRow(Section):
    """One slide of a cohort."""

    slide: Path
    """The slide file, absolute; it may be missing."""
    slide_id: str
    """A safe file name, unique in the cohort."""
    patient: str
    """Who must not straddle two splits."""
    site: str | None = None
    """The hospital or scanner it came from."""
    label: str | None = None
    """What is known of the slide as a whole; a class name or one of its sources."""
    annotations: Path | None = None
    """The outlines drawn on it, absolute; the file may be missing."""
    tissue_mask: Path | None = None
    """Outlines of its tissue that win over the mask that is found, absolute; the file may be
    missing."""
    mpp: float | None = None
    """Resolution in micrometres per pixel that overrides what the file says."""
    split: Split | None = None
    """The split this slide was put in by hand."""
    stain: str | None = None
    """Such as `H&E`."""


class Cohort(Section):
    """All slides, in the order of the file, and what the reader should know."""

    rows: tuple[CohortRow, ...]
    warnings: tuple[str, ...] = ()


def read_cohort(path: Path) -> Cohort:
    """Read a `cohort.csv`, or a folder of slides.

    Raises:
        CohortError: All problems at once, each with its line.
    """
    if path.is_dir():
        return _read_folder(path)
    lines = list(_records(path))
    if not lines:
        raise CohortError(
            "The cohort file is empty",
            got=path,
            remedy=f"Give it a header with at least {', '.join(_REQUIRED)} and one line a slide",
        )
    (_, header), *records = lines
    _refuse(path, _header_problems(header))
    return _assembled(path, header, records)


def safe_name(text: str) -> str | None:
    """Return a text as a safe file name, None where nothing safe is left of it.

    Letters (of any alphabet, NFC), digits and `. _ -` stay, all else becomes `_`; the name starts
    and ends with a letter, a digit or `_`, has at most 120 characters, and is no device of Windows.
    """
    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text.strip()))
    name = name[:_LONGEST].strip(".-")
    return None if not name.strip("_") or _RESERVED.fullmatch(name) else name


def _assembled(
    path: Path, header: Sequence[str], records: Sequence[tuple[int, list[str]]]
) -> Cohort:
    problems = list[str]()
    rows = dict[int, CohortRow]()
    for line, cells in records:
        try:
            rows[line] = _row(dict(_paired(header, cells)), path.absolute().parent)
        except _RowProblems as found:
            problems.extend(f"line {line}: {problem}" for problem in found.problems)
    problems += _clashes(rows)
    if not records:
        problems.append("line 1: a header, but no slide below it")
    _refuse(path, problems)
    warnings = (*_missing_files(rows), *_like_patients(rows))
    return Cohort(rows=tuple(rows.values()), warnings=warnings)


class _RowProblems(Exception):  # noqa: N818  (a parcel of problems, never seen outside)
    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)


def _refuse(path: Path, problems: Sequence[str]) -> None:
    if not problems:
        return
    count = "One problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise CohortError(
        f"{count} in {path.name}:\n  " + "\n  ".join(problems) + "\n",
        got=path,
        known=_COLUMNS,
        remedy="Mend the lines named above; nothing was started",
    )


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank with the line it starts on."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader, start = csv.reader(io.StringIO(text, newline=""), strict=True), 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield start, [cell.strip() for cell in cells]
            start = reader.line_num + 1
    except OSError as error:
        raise CohortError(
            f"The cohort cannot be read: {error.strerror or error}",
            got=path,
            remedy="Name a cohort.csv, or a folder of slides",
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(
            f"The cohort is no UTF-8 text of comma-separated values: {error}",
            got=path,
            remedy="Save it as CSV, UTF-8, with commas and double quotes",
        ) from error


def _header_problems(header: Sequence[str]) -> list[str]:
    problems = list[str]()
    if len(header) == 1 and re.search(r"[;\t]", header[0]):
        return ["line 1: one column only; the file seems to be separated by ';' or tabs"]
    for name in _REQUIRED:
        if name not in header:
            problems.append(f"line 1: the column {name!r} is missing")
    for name in dict.fromkeys(header):
        if name not in _COLUMNS:
            near = get_close_matches(name.casefold(), _COLUMNS, n=1)
            problems.append(
                f"line 1: unknown column {name!r}" + (f"; near: {near[0]!r}" if near else "")
            )
        elif header.count(name) > 1:
            problems.append(f"line 1: the column {name!r} is there {header.count(name)} times")
    return problems


def _paired(header: Sequence[str], cells: Sequence[str]) -> Iterator[tuple[str, str]]:
    if len(cells) > len(header) and any(cells[len(header) :]):
        raise _RowProblems(
            [f"{len(cells)} values for {len(header)} columns (quote values that hold a comma)"]
        )
    return zip(header, [*cells, *[""] * len(header)], strict=False)


def _row(cells: Mapping[str, str], base: Path) -> CohortRow:
    problems = list[str]()

    def take(column: str, parse: Callable[[str], Any]) -> Any:
        """Parse a cell, noting what is wrong with it; None where it is empty and may be."""
        value = cells.get(column, "")
        try:
            return parse(value) if value or column in _REQUIRED else None
        except ValueError as error:
            problems.append(f"{column}: {error}")
            return None

    slide = take("slide", lambda text: _path(text, base))
    fields = {
        "patient": take("patient", _plain_text),
        **{name: take(name, lambda text: _path(text, base)) for name in _FILES},
        "mpp": take("mpp", _mpp),
        "split": take("split", _split),
        "slide_id": take("slide_id", _given_id),
        **{name: take(name, _plain_text) for name in ("site", "label", "stain")},
    }
    if slide and not cells.get("tissue_mask"):
        fields["tissue_mask"] = tissue_beside(slide)
    if slide and not cells.get("slide_id"):
        fields["slide_id"] = safe_name(slide.stem)
        if fields["slide_id"] is None:
            problems.append(f"slide: no safe id can be made of {slide.stem!r}; give a slide_id")
    if problems:
        raise _RowProblems(problems)
    return CohortRow(slide=slide, **fields)


def tissue_beside(slide: Path) -> Path | None:
    """Return the outlines of a slide's tissue that lie beside it, None where there are none."""
    outlines = slide.with_name(slide.stem + TISSUE_SUFFIX)
    return outlines.absolute() if _exists(outlines) else None


def _plain_text(text: str) -> str:
    if not text:
        raise ValueError("empty")
    if len(text) > _LONGEST or not text.isprintable():
        raise ValueError(f"not a plain name of at most {_LONGEST} characters: {text[:60]!r}")
    # One name typed on two systems must stay one patient: é as one character or as two.
    return unicodedata.normalize("NFC", text)


def _given_id(text: str) -> str:
    if safe_name(text) != text:
        raise ValueError(f"{text[:60]!r} is no safe file name (letters, digits, . _ -)")
    return text


def _path(text: str, base: Path) -> Path:
    if not text:
        raise ValueError("empty")
    if not text.isprintable() or len(text) > 4096:
        raise ValueError(f"not a path: {text[:60]!r}")
    given = Path(text)
    if not given.name:
        raise ValueError(f"{text!r} names no file")
    try:
        found = (base / given).resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{text[:60]!r} cannot be resolved ({error})") from error
    if given.is_absolute():
        return given
    if not found.is_relative_to(base.resolve()):
        raise ValueError(
            f"{text[:60]!r} leads out of the cohort's folder; write its absolute path to mean it"
        )
    return found


def _mpp(text: str) -> float:
    try:
        # Python would read 0_5 as 5.
        value = float(text.replace("_", "?"))
    except ValueError:
        hint = "; write a point, not a comma" if "," in text else ""
        raise ValueError(f"{text[:60]!r} is no number{hint}") from None
    low, high = _MPP_WINDOW
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{text} is no plausible µm per pixel ({low}-{high})")
    return value


def _split(text: str) -> str:
    if text not in SPLITS:
        near = {"val": "validation", "valid": "validation", "dev": "validation"}.get(
            text.casefold()
        ) or next(iter(get_close_matches(text.casefold(), SPLITS, n=1)), None)
        hint = f"; near: {near!r}" if near else ""
        raise ValueError(f"{text[:60]!r} is none of {', '.join(SPLITS)}{hint}")
    return text


def _clashes(rows: Mapping[int, CohortRow]) -> Iterator[str]:
    """Yield what is wrong between lines: ids and files used twice, patients in two splits."""
    for _, lines in _repeated((line, row.slide_id.casefold()) for line, row in rows.items()):
        yield f"{_named(lines)}: the slide_id {rows[lines[0]].slide_id!r} is used twice"
    for _, lines in _repeated((line, row.slide.resolve()) for line, row in rows.items()):
        patients = sorted({rows[line].patient for line in lines})
        under = f"under {len(patients)} patients ({', '.join(patients)})" if patients[1:] else ""
        yield f"{_named(lines)}: the same slide {under or 'twice'}: {rows[lines[0]].slide.name}"
    splits = defaultdict[str, dict[str, int]](dict)
    for line, row in rows.items():
        if row.split:
            splits[row.patient].setdefault(row.split, line)
    for patient, seen in splits.items():
        if len(seen) > 1:
            yield f"{_named(list(seen.values()))}: patient {patient!r} is in {' and '.join(seen)}"


def _repeated(pairs: Iterable[tuple[int, Any]]) -> Iterator[tuple[Any, list[int]]]:
    lines = defaultdict[Any, list[int]](list)
    for line, value in pairs:
        lines[value].append(line)
    yield from ((value, found) for value, found in lines.items() if len(found) > 1)


def _named(lines: Sequence[int]) -> str:
    return f"lines {', '.join(str(line) for line in sorted(lines))}"


def _missing_files(rows: Mapping[int, CohortRow]) -> Iterator[str]:
    for line, row in rows.items():
        for path in (row.slide, row.annotations, row.tissue_mask):
            if path is not None and not _exists(path):
                yield f"line {line}: no such file, so the slide will be quarantined: {path.name}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the disk, or a folder that may not be read
        return False


def _like_patients(rows: Mapping[int, CohortRow]) -> Iterator[str]:
    """Yield patients whose names differ in nothing but case: probably one, who would straddle."""
    first = {row.patient: line for line, row in reversed(list(rows.items()))}
    for _, lines in _repeated((line, name.casefold()) for name, line in first.items()):
        names = ", ".join(repr(rows[line].patient) for line in sorted(lines))
        yield f"{_named(lines)}: patients that differ in case only count as different: {names}"


def _read_folder(folder: Path) -> Cohort:
    root, problems, rows = folder.resolve(), list[str](), dict[int, CohortRow]()
    files = [
        path
        for path in sorted(root.iterdir())
        if path.suffix.casefold() in SLIDE_SUFFIXES and not path.name.startswith(".")
    ]
    for number, path in enumerate(files, start=1):
        slide_id, fault = safe_name(path.stem), _link_fault(path, root)
        if slide_id is None or not path.name.isprintable():
            problems.append(f"{path.name!r}: no safe id can be made of this name")
        elif fault:
            problems.append(f"{path.name!r}: {fault}")
        else:
            rows[number] = CohortRow(
                slide=path.resolve(),
                slide_id=slide_id,
                patient=slide_id,
                tissue_mask=tissue_beside(path),
            )
    problems += [f"file{problem.removeprefix('line')}" for problem in _clashes(rows)]
    if not files:
        problems.append(f"no slide directly in it ({' '.join(sorted(SLIDE_SUFFIXES))})")
    _refuse(folder, problems)
    warning = (
        "Patients are taken from file names: if two slides come from one patient, leakage between "
        "the splits cannot be excluded. Write a cohort.csv with a patient column."
    )
    return Cohort(rows=tuple(rows.values()), warnings=(warning,))


def _link_fault(path: Path, root: Path) -> str | None:
    try:
        inside = path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return "a link that leads nowhere but to itself"
    return None if inside else "a link that leads out of the folder"
