"""Bring pools, deployments, schedules and automations to the server, again and again alike."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from wsi_vit.errors import ServiceError, UsageError

_ZOMBIES = "wsi-vit: end runs whose worker died"
_HEARTBEAT_LOST_S = 90
_SIGNS_OF_LIFE = ("heartbeat", "Completed", "Failed", "Cancelled", "Crashed")
"""After a heartbeat one of these must follow in time, or the run is dead."""


def prefect_file() -> Path:
    """Return prefect.yaml: inside an installed package, or at the top of a checkout."""
    inside = Path(__file__).parent / "prefect.yaml"
    return inside if inside.is_file() else Path(__file__).parents[1] / "prefect.yaml"


def deployment_names() -> list[str]:
    """Return FLOW/DEPLOYMENT for everything prefect.yaml declares."""
    return [f"{_flow_of(item)}/{item['name']}" for item in _declared()]


def deploy(*, schedule: bool | None) -> list[str]:
    """Register everything; return the deployments' names.

    Args:
        schedule: True and False switch the nightly schedules on and off, None leaves them as
            they are on the server.

    Raises:
        ServiceError: The server cannot be reached, or refuses a deployment.
    """
    active = asyncio.run(_active_schedules()) if schedule is None else set[str]()
    asyncio.run(_make_pools())
    _run_prefect_deploy()
    wanted = set(deployment_names()) if schedule else active
    asyncio.run(_switch_schedules(wanted))
    asyncio.run(_make_zombie_automation())
    return deployment_names()


def full_name(flow: str, pool: str | None) -> str:
    """Return FLOW/DEPLOYMENT for a flow's short name.

    Raises:
        UsageError: There is no such deployment.
    """
    name = flow if "/" in flow else f"{flow}/{pool or 'local'}"
    if name not in deployment_names():
        raise UsageError(
            "No such deployment", got=name, known=deployment_names(), remedy="Use one of these"
        )
    return name


def _declared() -> list[dict[str, Any]]:
    return yaml.safe_load(prefect_file().read_text())["deployments"]


def _flow_of(deployment: dict[str, Any]) -> str:
    return deployment["entrypoint"].rsplit(".", 1)[1].replace("_", "-")


def _run_prefect_deploy() -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", str(prefect_file())],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    if done.returncode:
        raise ServiceError(
            "Prefect refused the deployments",
            got=(done.stdout + done.stderr)[-2000:],
            remedy="Check that the server runs (wsi-vit up) and that PREFECT_API_URL names it",
        )


async def _make_pools() -> None:
    async with get_client() as client:
        for pool in sorted({item["work_pool"]["name"] for item in _declared()}):
            try:
                await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
            except ObjectAlreadyExists:
                continue


async def _active_schedules() -> set[str]:
    async with get_client() as client:
        found = [(name, await _schedules(client, name)) for name in deployment_names()]
    return {name for name, schedules in found if any(item.active for item in schedules)}


async def _switch_schedules(active: set[str]) -> None:
    async with get_client() as client:
        for name in deployment_names():
            deployment = await client.read_deployment_by_name(name)
            for item in deployment.schedules:
                await client.update_deployment_schedule(
                    deployment.id, item.id, active=name in active
                )


async def _schedules(client: PrefectClient, name: str) -> list[Any]:
    try:
        return list((await client.read_deployment_by_name(name)).schedules)
    except ObjectNotFound:
        return []


async def _make_zombie_automation() -> None:
    """A self-hosted server marks a run whose process vanished as crashed only if it is told to."""
    resource = {"prefect.resource.id": ["prefect.flow-run.*"]}
    automation = AutomationCore(
        name=_ZOMBIES,
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={f"prefect.flow-run.{event}" for event in _SIGNS_OF_LIFE},
            match=resource,  # type: ignore[arg-type]
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=_HEARTBEAT_LOST_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message="No heartbeat: the worker or machine died.",
                force=False,
            )
        ],
    )
    async with get_client() as client:
        if not await client.read_automations_by_name(_ZOMBIES):
            await client.create_automation(automation)
