"""`wsi-vit predict` on pictures: paths in by a pipe, lines out as they are finished."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from wsi_vit import console
from wsi_vit.cli import app
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import ClassifierSection
from wsi_vit.models.start import ConfigStart

LABELS = LabelMap.model_validate(
    {
        "classes": [
            {"name": "crack", "export_id": 4, "colour": "#d55e00"},
            {"name": "road", "export_id": 2, "colour": "#56b4e9"},
        ]
    }
)
TINY = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "patch_size": 16,
}

pytestmark = pytest.mark.usefixtures("as_environment")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    section = ClassifierSection(
        kind="classifier", start=ConfigStart(kind="config", options=TINY), input_px=32
    )
    folder = tmp_path_factory.mktemp("pictures") / "model"
    build_model(section, LABELS, "classification").save(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in ("one", "two words", "three")]
    for shade, path in enumerate(paths):
        Image.fromarray(np.full((40, 50, 3), 60 * shade, np.uint8)).save(path)
    return paths


def test_each_path_of_a_pipe_gives_a_line_and_the_bad_one_is_named(
    model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    listing = "\0".join(str(path) for path in [pictures[0], bad, *pictures[1:]])
    asked = ["predict", str(model), "-", "--out", str(tmp_path / "out")]
    plain = CliRunner().invoke(app, asked, input=listing)
    lines = CliRunner().invoke(app, [*asked, "--json"], input=listing.replace("\0", "\n"))
    rows = [json.loads(line) for line in lines.stdout.splitlines()]

    assert plain.exit_code == lines.exit_code == console.QUARANTINED
    assert plain.stdout.splitlines() == [str(tmp_path / f"out/{p.stem}.json") for p in pictures]
    assert "bad.png" in plain.stderr
    assert [row["state"] for row in rows] == ["reused", "quarantined", "reused", "reused"]
    assert [row["source"] for row in rows][1] == str(bad)
    assert sum(rows[0]["shares"].values()) == pytest.approx(1, abs=1e-4)


def test_what_is_asked_on_the_command_line_is_written_into_the_record(
    model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    asked = ["predict", str(model), str(pictures[0]), "--out", str(tmp_path), "--average", "flips"]
    result = CliRunner().invoke(app, asked)

    assert result.exit_code == console.OK, result.output
    record = json.loads((tmp_path / "one.json").read_text())
    assert record["settings"]["average"] == "flips"


def test_a_pipe_gets_its_lines_while_a_terminal_shows_the_progress(
    model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    """Rich would print what is written meanwhile on the terminal, and leave the pipe empty."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb"):
        done = subprocess.run(
            [sys.executable, "-m", "wsi_vit", "predict", model, *pictures, "--out", tmp_path],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm"},
            check=True,
        )
        os.close(theirs)

    assert done.stdout.decode().splitlines() == [str(tmp_path / f"{p.stem}.json") for p in pictures]
