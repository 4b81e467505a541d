"""Flow runs side by side: each in its own process and place; one that fails stops no other.

Each is a flow run of its own on the server, shown below the run that starts it, and a supervised
process with a session of its own, which ends with all its children when this process does, however
that ends.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.flows import Flow
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Crashed
from prefect.tasks import Task

from flows.alone import ENDED, End
from flows.parameters import TrainingParameters
from flows.places import Place
from flows.progress import PROGRESS, Bar, Step
from wsi_vit.errors import Stopped, TrainingError
from wsi_vit.section import Section
from wsi_vit.training.supervisor import SupervisorSection, supervise

_PATIENCE = SupervisorSection(grace_s=40.0, poll_s=0.5)
"""A run gives the trainer that it supervises 25 s for a checkpoint, and then ends itself."""
_LOOK_S = 10.0
"""Between two looks at whether a run was cancelled."""


@dataclass(frozen=True)
class Asked:
    """One run that is to be started."""

    flow: Flow[..., Any]
    parameters: TrainingParameters


class Ran(Section):
    """What became of one run."""

    name: str
    recipe: str
    end: End
    minutes: float | None = None
    """From start to end; None where it never started."""

    @property
    def run(self) -> Path | None:
        """Folder of the trained run; None where it failed."""
        return Path(self.end.result["run"]) if self.end.result else None


@dataclass
class _Yard:
    """What the threads of one call share."""

    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)
    free: "SimpleQueue[Place]" = field(default_factory=SimpleQueue)


def run_side_by_side(
    asked: Mapping[str, Asked], places: Sequence[Place], *, folder: Path
) -> list[Ran]:
    """Run flows to their ends, as many at a time as there are places; return what became of each.

    Call it in a flow, in the main thread: what ends that (a signal, an error) stops every run with
    grace and is raised once all are gone. Logs and journals of the runs go to `folder`.
    """
    yard = _Yard(folder)
    for place in places:
        yard.free.put(place)
    with ThreadPoolExecutor(max_workers=len(places)) as pool:
        futures = {
            name: pool.submit(copy_context().run, _run_in_place, name, item, yard)
            for name, item in asked.items()
        }
        try:
            wait(futures.values())
        except BaseException:
            yard.stop.set()
            raise
    return [_ran(name, asked[name], future) for name, future in futures.items()]


def _ran(name: str, asked: Asked, future: "Future[Ran]") -> Ran:
    """Return what became of a run, also where it could not even be started or followed."""
    error = future.exception()
    if error is None:
        return future.result()
    end = End(completed=False, message=f"{type(error).__name__}: {error}")
    return Ran(name=name, recipe=asked.parameters.recipe_name, end=end)


def _run_in_place(name: str, asked: Asked, yard: _Yard) -> Ran:
    place = yard.free.get()  # there are as many places as threads
    began = time.monotonic()
    try:
        _refuse_stopped(yard)
        get_run_logger().info("%s starts on %s", name, place.words)
        end = _run(name, asked, place, yard)
    finally:
        yard.free.put(place)
    get_run_logger().info("%s %s: %s", name, "trained" if end.completed else "failed", end.message)
    minutes = round((time.monotonic() - began) / 60, 1)
    return Ran(name=name, recipe=asked.parameters.recipe_name, end=end, minutes=minutes)


def _run(name: str, asked: Asked, place: Place, yard: _Yard) -> End:
    """Run one flow in a process of its own; return how it ended."""
    run_id, journal = _created(name, asked), yard.folder / f"{name}.jsonl"
    followed = _Followed(Bar(name), run_id, yard)
    try:
        supervise(
            _command(asked.flow, run_id, place, journal),
            log=yard.folder / f"{name}.log",
            journal=journal,
            hear=followed.hear,
            section=_PATIENCE,
        )
    except TrainingError as error:
        _refuse_stopped(yard)
        followed.end = End(completed=False, message=str(error))
    finally:
        _close(run_id, followed.ended_by)
    return followed.end


class _Followed:
    """What a run's journal has said so far, and whether somebody wants the run to end."""

    def __init__(self, bar: Bar, run_id: UUID, yard: _Yard) -> None:
        self._bar, self._run_id, self._yard = bar, run_id, yard
        self._looked = time.monotonic()
        self._cancelled = False
        self.end = End(completed=False, message="it ended without a word")

    @property
    def ended_by(self) -> State[Any]:
        """The state of a run whose process could not say how it ended."""
        if self._cancelled or self._yard.stop.is_set():
            return Cancelled(message="Stopped with all its processes; started again it goes on.")
        return Crashed(message="Its process was ended before it could say why.")

    def hear(self, line: str) -> None:
        """Take a line of the journal; an empty one is a mere sign of life.

        Raises:
            Stopped: This run, or the one that started it, is cancelled.
        """
        _refuse_stopped(self._yard)
        self._refuse_cancelled()
        record = json.loads(line) if line else {}
        if record.get("kind") == PROGRESS:
            self._bar.show(Step.model_validate(record["payload"]))
        elif record.get("kind") == ENDED:
            self.end = End.model_validate(record["payload"])

    def _refuse_cancelled(self) -> None:
        """Heed a cancellation of this run alone: no worker of Prefect's has it, so none would."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        state = _state_of(self._run_id)
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            self._cancelled = True
            raise Stopped("The run was cancelled", remedy="Start it again to go on")


def _refuse_stopped(yard: _Yard) -> None:
    if yard.stop.is_set():
        raise Stopped("The runs side by side were stopped", remedy="Start them again to go on")


def _command(flow: Flow[..., Any], run_id: UUID, place: Place, journal: Path) -> list[str]:
    surroundings = [f"{name}={value}" for name, value in place.environment().items()]
    entrypoint = f"{flow.fn.__module__}.{flow.fn.__name__}"
    python = [sys.executable, "-m", "flows.alone"]
    return ["env", *surroundings, *python, entrypoint, str(run_id), str(journal)]


def _created(name: str, asked: Asked) -> UUID:
    """Make the flow run on the server, below the one that is under way here."""
    context = FlowRunContext.get()
    assert context
    assert context.flow_run
    with get_client(sync_client=True) as client:
        stands_for = cast(Any, Task(name=name, fn=asked.flow.fn))
        below = client.create_task_run(
            stands_for, flow_run_id=context.flow_run.id, dynamic_key=name, name=name
        )
        run = client.create_flow_run(
            asked.flow,
            parameters=asked.flow.serialize_parameters({"parameters": asked.parameters}),
            parent_task_run_id=below.id,
        )
    return run.id


def _state_of(run_id: UUID) -> State[Any] | None:
    """Ask the server; None where it is away, which ends no run."""
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run_id).state
    except httpx.HTTPError as error:
        get_run_logger().warning("Prefect does not say how run %s is: %s", run_id, error)
        return None


def _close(run_id: UUID, ended_by: State[Any]) -> None:
    """Say on the server how a run ended whose process could not say so itself."""
    state = _state_of(run_id)
    if state is None or state.is_completed() or state.is_failed():
        return
    if state.is_final() and not ended_by.is_cancelled():
        return
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, ended_by, force=True)
