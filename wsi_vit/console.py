"""What the commands print: sentences, tables, progress with the time left, and JSON on request."""

import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from wsi_vit.errors import Stopped, UsageError, WsiVitError

OK, FAILED, USAGE, QUARANTINED, STOPPED = 0, 1, 2, 3, 75
"""Exit codes: all well, a failure, a mistake in what was asked, finished without some slides,
stopped as asked with a checkpoint kept (EX_TEMPFAIL, which the supervisor understands)."""

_out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)


def say(text: str) -> None:
    """Print a sentence for a person; rich's markup is allowed."""
    _out.print(text, highlight=False)


def warn(text: str) -> None:
    """Print what a person must not miss, to standard error."""
    _err.print(f"[yellow]{_plain(text)}[/yellow]", highlight=False)


def print_json(value: Any) -> None:
    """Print a result for a program: one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, default=_dump, indent=1, allow_nan=False) + "\n")


def print_json_line(value: Any) -> None:
    """Print a result for a program at once: one line of JSON on standard output."""
    print_line(json.dumps(value, default=_dump, allow_nan=False))


def print_line(text: str) -> None:
    """Print a plain line for a program at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def is_piped() -> bool:
    """Say whether a program reads what we print, and not a person."""
    return not sys.stdout.isatty()


def print_table(rows: Sequence[dict[str, Any]], *, title: str = "") -> None:
    """Print rows as a table; the first row's keys are the columns."""
    if not rows:
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in rows[0]:
        numeric = all(isinstance(row[column], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    _out.print(table)


def exit_code(error: WsiVitError) -> int:
    """Print an error as one clear message and return the exit code it stands for."""
    _err.print(f"[bold red]{type(error).__name__}[/bold red] {_plain(str(error))}", highlight=False)
    codes = {UsageError: USAGE, Stopped: STOPPED}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)


@contextmanager
def progress_bars() -> Generator[Callable[[str, int, int], None]]:
    """Yield a callback `(what, done, total)` that keeps one bar a task, with the time left."""
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # Rich would send what is printed meanwhile to standard error, past a pipe that waits for it.
    with Progress(
        *columns,
        console=_err,
        disable=not _err.is_terminal,
        redirect_stdout=not is_piped(),
    ) as bars:
        known: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            name, _, note = what.partition(": ")
            if name not in known:
                known[name] = bars.add_task(name, total=total, note=note)
            bars.update(known[name], completed=done, total=total, note=note)

        yield report


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else _plain(str(value))


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _dump(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
