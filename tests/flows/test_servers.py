"""Servers are started, found again and ended: these, and nothing else."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows import servers
from wsi_vit.errors import ServiceError
from wsi_vit.settings import Settings

# A server outlives the object that started it, by design.
pytestmark = [
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serving(folder: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "http.server", str(port)),
        *("--bind", "127.0.0.1", "--directory", str(folder)),
    ]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Real processes that answer where Prefect and MLflow would."""
    pages = tmp_path / "pages"
    (pages / "api").mkdir(parents=True)
    for name in ("health", "api/health"):
        (pages / name).write_text("well")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(servers, "_prefect_command", lambda port: serving(pages, port))
    monkeypatch.setattr(servers, "_mlflow_command", lambda _, port: serving(pages, port))
    found = Settings(runs=tmp_path / "runs")
    yield found
    servers.stop(found)


def started(settings: Settings, *, prefect: int = 0, mlflow: int = 0) -> list[servers.Server]:
    ports = {"prefect_port": prefect or free_port(), "mlflow_port": mlflow or free_port()}
    return list(servers.start(settings, **ports))


def test_servers_are_started_once_found_again_and_ended(settings: Settings) -> None:
    first = started(settings)

    assert [item.name for item in first] == ["prefect", "mlflow"]
    assert started(settings) == first  # a second call starts nothing
    assert list(servers.running(settings)) == first
    assert servers.api_url(settings) == f"{first[0].url}/api"

    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        ended = servers.stop(settings)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert [item.name for item in ended] == ["mlflow", "prefect"]
    assert not any(psutil.pid_exists(item.pid) for item in first)
    assert servers.running(settings) == servers.stop(settings) == ()
    assert servers.api_url(settings) is None


def test_a_taken_port_is_named_and_nothing_is_started(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ServiceError, match=f"A port is taken.*127.0.0.1:{port}"):
            started(settings, mlflow=port)

    assert servers.running(settings) == ()


def test_a_server_that_does_not_come_up_is_named_with_its_last_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = [sys.executable, "-c", "raise SystemExit('no such table: runs')"]
    monkeypatch.setattr(servers, "_mlflow_command", lambda *_: dying)

    with pytest.raises(ServiceError, match=r"mlflow did not come up.*no such table: runs"):
        started(settings)

    assert [item.name for item in servers.running(settings)] == ["prefect"]  # it answers: it stays


def test_no_pages_of_ours_beside_another_tracking_server(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"mlflow_uri": "http://mlflow.example:5000"})

    assert [item.name for item in started(elsewhere)] == ["prefect"]


def test_a_worker_needs_a_server(settings: Settings) -> None:
    with pytest.raises(ServiceError, match="Run wsi-vit up"):
        servers.start_worker(settings, pool="local")


def test_another_process_with_the_same_number_is_left_alone(settings: Settings) -> None:
    me = psutil.Process()
    ours = servers.Server(
        name="prefect", pid=me.pid, created=me.create_time(), log=Path("prefect.log")
    )
    reused = ours.model_copy(update={"created": me.create_time() - 60})
    gone = ours.model_copy(update={"pid": 2**22 + 1})

    assert servers._process(ours) == me
    assert servers._process(reused) is None
    assert servers._process(gone) is None
    settings.runs.mkdir()
    servers._remember(settings, {"prefect": reused})
    assert servers.running(settings) == servers.stop(settings) == ()


def test_what_servers_inherit_names_this_projects_folders(settings: Settings) -> None:
    found = servers._environment(settings, "http://127.0.0.1:4200/api")

    assert found["WSI_VIT_RUNS"] == str(settings.runs.resolve())
    assert found["WSI_VIT_MLFLOW_URI"] == settings.tracking_uri
    assert found["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
