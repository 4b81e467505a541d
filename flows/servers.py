"""Prefect server, a process worker and MLflow's pages as plain processes of this computer.

`start` keeps note of exactly what it started (process id and creation time), so `stop` ends these
and nothing else. Everything binds to the loopback address.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import psutil
from pydantic import TypeAdapter

from wsi_vit.errors import ServiceError
from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.store import write_whole

_HOST = "127.0.0.1"
_PATIENCE_S = 300
"""A server that is alive may take its time on a busy computer; one that dies ends the wait."""
_GRACE_S = 15


class Server(Section):
    """One process that was started."""

    name: str
    pid: int
    created: float
    url: str | None = None
    log: Path


_Servers = TypeAdapter(tuple[Server, ...])


def running(settings: Settings) -> tuple[Server, ...]:
    """Return the servers of this project that are alive."""
    note = _note(settings)
    if not note.exists():
        return ()
    return tuple(item for item in _Servers.validate_json(note.read_bytes()) if _process(item))


def api_url(settings: Settings) -> str | None:
    """Return the address of the Prefect API: the environment's, else that of `wsi-vit up`."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    found = [item.url for item in running(settings) if item.name == "prefect"]
    return f"{found[0]}/api" if found else None


def start(settings: Settings, *, prefect_port: int, mlflow_port: int) -> Iterator[Server]:
    """Start what is not running yet, in order, and yield each server once it answers.

    MLflow's pages are not started where another server is named for tracking.

    Raises:
        ServiceError: A port is taken: nothing was started. Or a server does not come up: it is
            ended, and those that answer stay.
    """
    alive = {item.name: item for item in running(settings)}
    environment = _environment(settings, f"http://{_HOST}:{prefect_port}/api")
    plan = {"prefect": (_prefect_command(prefect_port), prefect_port, "/api/health")}
    if not settings.tracking_uri.startswith("http"):
        plan["mlflow"] = (_mlflow_command(settings, mlflow_port), mlflow_port, "/health")
    _refuse_taken([port for name, (_, port, _) in plan.items() if name not in alive])
    for name, (command, port, ready) in plan.items():
        if name not in alive:
            url = f"http://{_HOST}:{port}"
            alive[name] = _launch(name, command, settings, environment, url)
            _remember(settings, alive)
            _await_ready(alive[name], url + ready, settings)
        yield alive[name]


def start_worker(settings: Settings, *, pool: str) -> Server:
    """Start a process worker of a pool, after its pool was registered."""
    alive = {item.name: item for item in running(settings)}
    name = f"worker-{pool}"
    if name not in alive:
        url = api_url(settings)
        if url is None:
            raise ServiceError("No Prefect server to work for", remedy="Run wsi-vit up")
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool]
        alive[name] = _launch(name, command, settings, _environment(settings, url), None)
        _remember(settings, alive)
    return alive[name]


def stop(settings: Settings) -> tuple[Server, ...]:
    """End exactly what was started here, with all its children; return what was ended."""
    ended = tuple(reversed(running(settings)))
    for server in ended:
        _end(server)
    _note(settings).unlink(missing_ok=True)
    return ended


def _prefect_command(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "prefect", "server", "start"),
        *("--host", _HOST, "--port", str(port)),
    ]


def _mlflow_command(settings: Settings, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port)),
        *("--backend-store-uri", settings.tracking_uri, "--workers", "1"),
    ]


def _environment(settings: Settings, api: str) -> dict[str, str]:
    """What servers and workers inherit: this project's folders, no telemetry, JSON results."""
    runs = settings.runs.resolve()
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PREFECT_HOME": str(runs / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "WSI_VIT_RUNS": str(runs),
        "WSI_VIT_MLFLOW_URI": settings.tracking_uri,
    }


def _launch(
    name: str,
    command: Sequence[str],
    settings: Settings,
    environment: dict[str, str],
    url: str | None,
) -> Server:
    log = settings.runs.resolve() / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,
        )
    created = psutil.Process(child.pid).create_time()
    return Server(name=name, pid=child.pid, created=created, url=url, log=log)


def _await_ready(server: Server, url: str, settings: Settings) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and _process(server):
        try:
            with urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (OSError, HTTPException):
            time.sleep(0.3)
    tail = server.log.read_text(errors="replace")[-1500:]
    _end(server)
    _remember(settings, {item.name: item for item in running(settings)})
    raise ServiceError(
        f"{server.name} did not come up",
        got=tail,
        remedy=f"Read {server.log}; wsi-vit doctor checks the versions",
    )


def _refuse_taken(ports: Sequence[int]) -> None:
    for port in ports:
        with socket.socket() as probe:
            taken = probe.connect_ex((_HOST, port)) == 0
        if taken:
            raise ServiceError(
                "A port is taken by another program",
                got=f"{_HOST}:{port}",
                remedy="End that program, or choose another port (wsi-vit up --help)",
            )


def _process(server: Server) -> psutil.Process | None:
    """Return the process if it is the very one that was started, and alive."""
    try:
        process = psutil.Process(server.pid)
        same = abs(process.create_time() - server.created) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _end(server: Server) -> None:
    """End a server with all its children, if it is still the one that was started."""
    process = _process(server)
    if process is None:
        return
    tree = [*process.children(recursive=True), process]
    for member in tree:
        _signal(member, "terminate")
    _, stubborn = psutil.wait_procs(tree, timeout=_GRACE_S)
    for member in stubborn:
        _signal(member, "kill")


def _signal(process: psutil.Process, how: str) -> None:
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return


def _note(settings: Settings) -> Path:
    return settings.runs / "servers.json"


def _remember(settings: Settings, servers: dict[str, Server]) -> None:
    with write_whole(_note(settings)) as scratch:
        scratch.write_bytes(_Servers.dump_json(tuple(servers.values()), indent=1))
