import os
from pathlib import Path

import pytest

from wsi_vit.errors import UsageError
from wsi_vit.settings import Settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WSI_VIT_", "ACCELERATE_")):
            monkeypatch.delenv(name)


def test_everything_lies_below_one_folder(tmp_path: Path) -> None:
    settings = Settings(runs=tmp_path)

    assert settings.store_root == tmp_path / "store"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_environment_names_places_and_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSI_VIT_RUNS", "/data/runs")
    monkeypatch.setenv("WSI_VIT_MLFLOW_URI", "http://mlflow:5000")
    monkeypatch.setenv("WSI_VIT_WORKERS", "3")

    settings = Settings()

    assert (settings.runs, settings.workers) == (Path("/data/runs"), 3)
    assert settings.tracking_uri == "http://mlflow:5000"


def test_nonsense_in_the_environment_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSI_VIT_WORKERS", "0")
    monkeypatch.setenv("WSI_VIT_DEVICE", "gpu")

    with pytest.raises(UsageError, match=r"WSI_VIT_WORKERS=0: .*; WSI_VIT_DEVICE=gpu: "):
        Settings()


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_a_device_is_told_to_all_that_read_the_environment(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSI_VIT_RUNS", "before")
    settings = Settings(runs=tmp_path, device=device)

    with settings.in_environment():
        assert Settings() == settings.model_copy(update={"mlflow_uri": settings.tracking_uri})
        assert os.environ["ACCELERATE_TORCH_DEVICE"] == device
        assert os.environ.get("ACCELERATE_USE_CPU") == ("true" if device == "cpu" else None)

    assert os.environ["WSI_VIT_RUNS"] == "before"
    assert not {"WSI_VIT_DEVICE", "ACCELERATE_TORCH_DEVICE"} & set(os.environ)


def test_the_environment_is_put_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Settings(runs=tmp_path).in_environment():
        raise ZeroDivisionError

    assert "WSI_VIT_RUNS" not in os.environ


def test_compiled_kernels_are_kept_beside_the_runs_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with Settings(runs=tmp_path).in_environment():
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/fast/kernels")
    with Settings(runs=tmp_path).in_environment():
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/fast/kernels"
