"""Training in a process of its own: stopped, gone on with, watched."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import LEARNER, Done, run_folder
from wsi_vit import console, pipeline
from wsi_vit.pipeline.run_folder import RunPlace
from wsi_vit.recipe import load_recipe
from wsi_vit.settings import Settings
from wsi_vit.tracking.journal import Journal


def learner(folder: Path, *, epochs: int) -> Path:
    path = folder / "apart.yaml"
    path.write_text(LEARNER.replace("epochs: 24", f"epochs: {epochs}"))
    return path


def told(journal: Journal, kind: str) -> list[dict[str, object]]:
    return [record.payload for record in journal.read() if record.kind == kind]


def test_a_training_that_is_stopped_ends_with_75_and_goes_on_from_its_checkpoint(
    done: Done, tmp_path: Path
) -> None:
    settings = Settings(runs=tmp_path / "runs", device="cpu")
    path = learner(tmp_path, epochs=30)
    recipe = load_recipe(path)
    place = RunPlace(run_folder(recipe, done.dataset, settings))
    child = subprocess.Popen(
        [sys.executable, "-m", "wsi_vit", "train", str(path), "--dataset", str(done.dataset)],
        env={**os.environ, "WSI_VIT_RUNS": str(settings.runs), "WSI_VIT_DEVICE": "cpu"},
        stderr=subprocess.PIPE,
    )

    while not told(place.journal, "epoch"):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    error = child.communicate(timeout=120)[1].decode()

    assert child.returncode == console.STOPPED
    assert error.startswith("Stopped Stopped as asked after step")
    assert not place.model.exists()
    assert told(place.journal, "failed")[0]["error"] == "Stopped"
    before = len(told(place.journal, "epoch"))
    assert 1 <= before < 30

    trained = pipeline.train(recipe, done.dataset, settings=settings)

    assert trained == pipeline.Trained(run=place.folder, reused=False)
    assert place.model.is_dir()
    assert [epoch["number"] for epoch in told(place.journal, "epoch")] == list(range(1, 31))
    attempts = told(place.journal, "attempt")
    assert [attempt["process"] for attempt in attempts] == [child.pid, os.getpid()]
    assert list(place.journal.read())[-1].kind == "finished"


def test_a_supervised_training_takes_the_settings_along_and_is_heard(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSI_VIT_RUNS", str(tmp_path / "elsewhere"))
    settings = Settings(runs=tmp_path / "runs", device="cpu")
    heard: list[tuple[str, int, int]] = []

    trained = pipeline.train_supervised(
        load_recipe(learner(tmp_path, epochs=1)),
        done.dataset,
        settings=settings,
        progress=lambda *what: heard.append(what),
    )

    assert trained.run.is_relative_to(settings.runs)
    assert (trained.run / "model" / "model.safetensors").is_file()
    assert heard[-1][0].startswith("training: loss ")
    assert heard[-1][1] == heard[-1][2] == 16
    assert not (tmp_path / "elsewhere").exists()
    assert os.environ["WSI_VIT_RUNS"] == str(tmp_path / "elsewhere")
