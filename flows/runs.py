"""Start a deployment, follow a run to its end, list the latest runs."""

import asyncio
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from flows.deployments import full_name
from wsi_vit import console
from wsi_vit.errors import ServiceError, UsageError
from wsi_vit.section import Section

_POLL_S = 2.0
_LOG_PAGE = 200
_PATHS, _LISTS, _COUNTS = {"cohort", "data", "start", "out"}, {"subsets"}, {"seeds"}


class StartedRun(Section):
    """A flow run that was asked for."""

    id: UUID
    name: str
    url: str


def start(flow: str, assignments: list[str], *, pool: str) -> StartedRun:
    """Start a deployment; return at once.

    Raises:
        UsageError: There is no such deployment, or the flow refuses a parameter.
        ServiceError: The server cannot be reached.
    """
    name = full_name(flow, pool)
    try:
        run = run_deployment(name, parameters={"parameters": parsed(assignments)}, timeout=0)
    except PrefectHTTPStatusError as error:
        raise UsageError(
            f"{name} refuses these parameters", got=error.response.text[:600], remedy="Mend them"
        ) from error
    except httpx.ConnectError as error:
        raise ServiceError("Prefect does not answer", got=error, remedy="wsi-vit up") from error
    assert isinstance(run, FlowRun)
    ui = str(get_current_settings().api.url).removesuffix("/api")
    return StartedRun(id=run.id, name=run.name, url=f"{ui}/runs/flow-run/{run.id}")


def parsed(assignments: list[str]) -> dict[str, Any]:
    """Read `key=value` pairs; places become absolute, as the worker runs elsewhere.

    A dot leads into a part of the parameters: `sidewalk.data=street`. A list has commas. A count is
    a number.
    """
    parameters: dict[str, Any] = {}
    for item in assignments:
        place, separator, value = item.partition("=")
        *parts, key = place.split(".")
        if not separator or not all([*parts, key]):
            raise UsageError("A parameter is key=value", got=item, remedy="Write -p key=value")
        inner = parameters
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[key] = _typed(key, value)
    return parameters


def _typed(key: str, value: str) -> list[str] | int | str:
    """Return a value as its flow's schema wants it; the server takes no text for a number."""
    if key in _LISTS:
        return value.split(",")
    return int(value) if key in _COUNTS and value.isdecimal() else _absolute(key, value)


def _absolute(key: str, value: str) -> str:
    named = {"model": Path(value).exists(), "recipe": value.endswith((".yaml", ".yml"))}
    return str(Path(value).resolve()) if key in _PATHS or named.get(key) else value


def follow(run: StartedRun) -> int:
    """Print a run's log until it ends; return the exit code it stands for."""
    seen = 0
    while True:
        state, lines = asyncio.run(_look(run.id, seen))
        seen += len(lines)
        for line in lines:
            console.say(line.replace("[", r"\["))
        if state.is_final() and len(lines) < _LOG_PAGE:
            console.say(f"[bold]{state.name}[/bold] {(state.message or '').replace('[', '(')}")
            if not state.is_completed():
                return console.FAILED
            return console.QUARANTINED if "quarantined:" in (state.message or "") else console.OK
        if len(lines) < _LOG_PAGE:
            time.sleep(_POLL_S)


def latest(limit: int) -> list[dict[str, Any]]:
    """Return the latest runs, newest first, as rows of a table."""
    return asyncio.run(_latest(limit))


async def _look(run_id: UUID, seen: int) -> tuple[Any, list[str]]:
    async with get_client() as client:
        run = await client.read_flow_run(run_id)
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
        logs = await client.read_logs(wanted, limit=_LOG_PAGE, offset=seen)
        return run.state, [log.message for log in logs]


async def _latest(limit: int) -> list[dict[str, Any]]:
    async with get_client() as client:
        found = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=limit,
        )
        rows: list[dict[str, Any]] = []
        for run in found:
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
            tasks = await client.read_task_runs(flow_run_filter=wanted, limit=200)
            done = sum(task.state is not None and task.state.is_completed() for task in tasks)
            rows.append(
                {
                    "run": run.name,
                    "state": run.state_name,
                    "stages done": f"{done} of {len(tasks)}",
                    "took": f"{run.total_run_time.total_seconds():.0f} s",
                    "what": (run.state.message if run.state else "") or "",
                }
            )
        return rows
