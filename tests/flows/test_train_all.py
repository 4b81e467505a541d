"""Models side by side on a real Prefect server: one fails, one is cancelled, none is lost."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.flows.stack import Stack
from wsi_vit import console

RECIPE = """
labels:
  background: rest
  classes:
    - {{name: rest, source: [0], colour: "#000000"}}
    - {{name: {name}, source: [1], colour: "#d55e00"}}
source: {{kind: folder, images: "images/*.png", mask: {{find: "^images/", replace: "masks/"}}}}
split: {{kind: patients, validation: 0.25, test: 0.25}}
model:
  kind: maskformer
  start:
    kind: config
    options: {{widths: [8, 16, 32, 64], d_model: 32, decoder_layers: 1, queries: 4}}
  input_px: 32
augmentation: {{preset: none}}
training: {{epochs: {epochs}, batch_size: 8, learning_rate: 2.0e-3, workers: 0}}
evaluation: {{resamples: 100}}
"""


def recipe_at(folder: Path, name: str, *, epochs: int = 2) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(name=name.replace("_", ""), epochs=epochs))
    return path


def images_at(folder: Path, *, seed: int) -> Path:
    """Sixteen noisy pictures of 32 px with one bright square each, and their masks."""
    random = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(16):
        mask = np.zeros((32, 32), np.uint8)
        top, left = random.integers(0, 20, 2)
        mask[top : top + 12, left : left + 12] = 1
        image = random.integers(0, 80, (32, 32, 3)) + 150 * mask[..., None]
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{number:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:02}.png")
    return folder


def asked(runs: dict[str, Path], *, data: dict[str, Path]) -> list[str]:
    pairs = [f"subsets={','.join(runs)}"]
    pairs += [f"{name}.recipe={recipe}" for name, recipe in runs.items()]
    pairs += [f"{name}.data={place}" for name, place in data.items()]
    return [word for pair in pairs for word in ("-p", pair)]


@pytest.fixture(scope="module")
def ran(stack: Stack) -> dict[str, Any]:
    folder = stack.folder / "scenes"
    folder.mkdir()
    runs = {
        "ade20k": recipe_at(folder, "rooms"),
        "sidewalk": recipe_at(folder, "street"),
        "crack": recipe_at(folder, "walls"),
    }
    (folder / "empty" / "images").mkdir(parents=True)
    data = {
        "ade20k": images_at(folder / "rooms", seed=1),
        "sidewalk": images_at(folder / "street", seed=2),
        "crack": folder / "empty",
    }
    result = stack.call("trigger", "train-all", *asked(runs, data=data), "--watch")
    (place,) = (stack.folder / "runs" / "train-all").iterdir()
    return {"result": result, "place": place}


def test_one_that_fails_stops_no_other_and_is_named_with_its_reason(
    stack: Stack, ran: dict[str, Any]
) -> None:
    said = ran["result"].stdout

    assert ran["result"].returncode == console.FAILED, said + ran["result"].stderr
    assert "1 of 3 failed: crack: DatasetError: " in said
    assert "trained: ade20k: On " in said
    for name in ("rooms", "street"):
        (run,) = (stack.folder / "runs" / name).iterdir()
        assert (run / "report.html").is_file()
    assert {m["name"] for m in json.loads(stack.done("models", "--json"))} >= {
        "wsi-vit-rooms",
        "wsi-vit-street",
    }


def test_the_comparison_shows_figures_and_failures_side_by_side(
    stack: Stack, ran: dict[str, Any]
) -> None:
    rows = {
        row["recipe"]: row for row in json.loads((ran["place"] / "comparison.json").read_text())
    }

    assert {name: row["state"] for name, row in rows.items()} == {
        "rooms": "trained",
        "street": "trained",
        "walls": "failed",
    }
    assert len({tuple(row) for row in rows.values()}) == 1  # the same columns
    assert rows["rooms"]["examples"] == "8 train, 4 validation, 4 test"
    assert rows["rooms"]["headline (95 % interval)"].startswith("mean IoU 0.")
    assert "rooms 0." in rows["rooms"]["by class"]
    assert rows["street"]["version"].startswith("wsi-vit-street 1")
    assert "DatasetError" in rows["walls"]["report, or what went wrong"]
    keys = {item["key"] for item in stack.api("artifacts/filter", limit=200)}
    assert {"comparison", "train-all-comparison"} <= keys


def test_each_is_a_flow_run_of_its_own_below_the_one_that_was_asked_for(
    stack: Stack, ran: dict[str, Any]
) -> None:
    runs = {run["name"]: run for run in stack.api("flow_runs/filter", limit=50)}
    (parent,) = [run for run in runs.values() if run["id"] == ran["place"].name]
    children = {name: run for name, run in runs.items() if run["parent_task_run_id"]}

    assert parent["state_type"] == "FAILED"
    assert {name: run["state_type"] for name, run in children.items()} == {
        "train rooms": "COMPLETED",
        "train street": "COMPLETED",
        "train walls": "FAILED",
    }


def test_who_is_cancelled_leaves_no_process_behind_first_one_run_and_then_all(
    stack: Stack, ran: dict[str, Any]
) -> None:
    folder, trained = stack.folder / "scenes", stack.folder / "runs"
    runs = {
        name: recipe_at(folder, f"endless_{name}", epochs=10**5) for name in ("crack", "ade20k")
    }
    data = dict.fromkeys(runs, folder / "rooms")
    stack.done("trigger", "train-all", *asked(runs, data=data))
    crack, ade20k = (family_of(trained / recipe.stem) for recipe in runs.values())

    cancel(stack, "train endless_crack")
    _, left = psutil.wait_procs(crack, timeout=120)
    assert left == []
    assert all(process.is_running() for process in ade20k)

    cancel(stack, "train crack, ade20k")
    _, left = psutil.wait_procs(ade20k, timeout=120)
    assert left == []
    for recipe in runs.values():
        assert list((trained / recipe.stem).glob("*/checkpoints/*"))  # each had its grace
    for recipe in runs.values():
        # Prefect says crashed where a run's process goes before the server has heard its last word.
        assert final_state_of(stack, f"train {recipe.stem}") in {"CANCELLED", "CRASHED"}


def final_state_of(stack: Stack, name: str) -> str:
    """Wait until the server knows how a run ended."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        runs = stack.api("flow_runs/filter", limit=50)
        (state,) = {run["state_type"] for run in runs if run["name"] == name}
        if state not in {"RUNNING", "CANCELLING"}:
            return state
        time.sleep(0.5)
    raise AssertionError(f"{name} never ended")


def cancel(stack: Stack, name: str) -> None:
    (run,) = [run for run in stack.api("flow_runs/filter", limit=50) if run["name"] == name]
    stack.api(f"flow_runs/{run['id']}/set_state", state={"type": "CANCELLING"})


def family_of(runs: Path) -> list[psutil.Process]:
    """Wait until a trainer has done an epoch; return it and all that leads to it from train-all."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        journals = [path.read_text() for path in runs.glob("*/journal.jsonl")]
        if any('"epoch"' in journal for journal in journals):
            (trainer,) = [p for p in psutil.process_iter(["cmdline"]) if trains(p, runs)]
            above = [p for p in trainer.parents() if "flows.alone" in " ".join(p.cmdline())]
            assert len(above) == 2  # the flow run, and its guard
            return [trainer, *above]
        time.sleep(0.2)
    raise AssertionError("the trainer never finished an epoch")


def trains(process: psutil.Process, runs: Path) -> bool:
    words = process.info["cmdline"] or []
    return words[1:4] == ["-m", "wsi_vit", "train"] and words[4].startswith(f"{runs}/")
