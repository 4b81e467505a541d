"""The container files are parsed here, as no engine runs in the tests."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()


def target(name: str) -> str:
    """Return one stage of the Dockerfile."""
    stages = DOCKERFILE.split("\nFROM ")
    return next(stage for stage in stages if stage.splitlines()[0].endswith(f"AS {name}"))


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_an_image_runs_as_nobody_special_and_is_locked(name: str) -> None:
    stage = target(name)

    assert "USER 10001:10001" in stage
    assert "--constraint /tmp/constraints.txt" in stage
    assert 'ENTRYPOINT ["wsi-vit"]' in stage


def test_what_is_installed_is_compiled_once_and_not_by_every_run() -> None:
    assert "UV_COMPILE_BYTECODE=1" in target("base")
    assert all("uv pip install" in target(name) for name in ("cpu", "gpu"))


def test_recipes_and_flows_travel_in_the_wheel() -> None:
    for folder in ("wsi_vit", "flows", "configs"):
        assert f"COPY {folder} {folder}" in target("built")
    assert "prefect.yaml" in target("built")


def test_the_services_are_these() -> None:
    assert set(SERVICES) == {"prefect", "mlflow", "worker"}


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(service: dict[str, Any]) -> None:
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["stop_grace_period"] == "120s"
    assert service["mem_limit"]
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_pages_are_on_the_loopback_address_only(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_slides_are_mounted_read_only_and_must_be_named() -> None:
    (slides,) = [v for v in SERVICES["worker"]["volumes"] if "/data/slides" in v]

    assert slides.endswith(":ro")
    assert "WSI_VIT_SLIDES:?" in slides


def test_the_worker_waits_for_its_servers() -> None:
    assert set(SERVICES["worker"]["depends_on"]) == {"prefect", "mlflow"}
    assert all(SERVICES[name]["healthcheck"] for name in ("prefect", "mlflow"))
