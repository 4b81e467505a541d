"""How far a stage is: a bar in the run's page, and a line for whoever started this run."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from flows.artifacts import slug
from wsi_vit.pipeline import Progress
from wsi_vit.section import Section

PROGRESS = "progress"
"""The kind of a journal's record that holds a `Step`."""

_LISTENER: ContextVar["Listener | None"] = ContextVar("_LISTENER", default=None)


class Step(Section):
    """How far a stage is."""

    what: str
    done: int
    total: int

    @property
    def percent(self) -> float:
        """Share that is done, 0 to 100."""
        return 100.0 * self.done / max(self.total, 1)


Listener = Callable[[Step], object]
"""Whoever started a run and wants to hear how far it is."""


@contextmanager
def overheard(by: Listener) -> Generator[None]:
    """Let somebody hear how far the stages are that begin meanwhile."""
    token = _LISTENER.set(by)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class Bar:
    """A progress bar in the run's page; a server that is away does not stop the work."""

    def __init__(self, key: str) -> None:
        created = create_progress_artifact(progress=0.0, key=slug(key), description=key)
        self._artifact = cast(UUID, created)

    def show(self, step: Step) -> None:
        """Move the bar."""
        try:
            update_progress_artifact(self._artifact, progress=step.percent, description=step.what)
        except httpx.HTTPError as error:
            get_run_logger().warning("Progress cannot be shown: %s", error)


def progress_of(stage: str) -> Progress:
    """Return a callback that moves a bar in the run's page, by whole percents."""
    bar, listener, shown = Bar(stage), _LISTENER.get(), 0.0

    def report(what: str, done: int, total: int) -> None:
        """Show it in the page and to whoever listens, unless it moves by less than a percent."""
        nonlocal shown
        step = Step(what=what, done=done, total=total)
        if step.percent - shown < 1 and done != total:
            return
        shown = step.percent
        bar.show(step)
        if listener is not None:
            listener(step)

    return report
