import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsi_vit import doctor
from wsi_vit.doctor import Finding, examine
from wsi_vit.settings import Settings


@pytest.fixture(autouse=True)
def no_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def found(settings: Settings) -> dict[str, Finding]:
    return {item.what: item for item in examine(settings)}


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_this_machine_can_do_the_work(tmp_path: Path) -> None:
    findings = found(Settings(runs=tmp_path / "still" / "to" / "make"))

    assert {"torch", "OpenSlide library", "CPU cores", "MLflow", "Prefect server"} <= set(findings)
    assert findings["OpenSlide library"].found.startswith("4.")
    assert findings["MLflow"].found.startswith("sqlite:///")
    faults = [item for item in findings.values() if item.fix and not item.what.startswith("disk")]
    assert faults == []


def test_a_missing_package_and_a_wrong_version_have_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "tifffile":
            raise PackageNotFoundError(name)
        return "0.151.0"

    monkeypatch.setattr(doctor, "version", version)
    findings = found(Settings(runs=tmp_path))

    assert (findings["tifffile"].found, findings["tifffile"].fix) == ("missing", "make setup")
    assert "pip install 'fastapi<0.151'" in findings["fastapi"].fix
    assert findings["torch"].fix == ""


def test_a_library_that_does_not_load_has_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_name: str) -> None:
        raise OSError("libopenslide.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "importlib", SimpleNamespace(import_module=fail))

    assert "openslide-bin" in found(Settings(runs=tmp_path))["OpenSlide library"].fix


def test_a_full_disk_has_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=3e9))

    disk = found(Settings(runs=tmp_path))[f"disk at {tmp_path}"]

    assert disk.found == "3 GB free"
    assert "WSI_VIT_RUNS" in disk.fix


def test_servers_are_asked_for_their_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200) as well, answering(503) as ill:
        monkeypatch.setenv("PREFECT_API_URL", ill)
        findings = found(Settings(runs=tmp_path, mlflow_uri=well))

    assert findings["MLflow"] == Finding(what="MLflow", found=well)
    assert findings["Prefect server"].fix == "start it (wsi-vit up)"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:port"])
def test_a_server_that_is_not_there_has_a_fix(url: str, tmp_path: Path) -> None:
    assert found(Settings(runs=tmp_path, mlflow_uri=url))["MLflow"].fix


def test_another_kind_of_server_has_a_fix(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def greet() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        findings = found(Settings(runs=tmp_path, mlflow_uri=url))
        thread.join()

    assert "SSH-2.0" in findings["MLflow"].found
    assert findings["MLflow"].fix
