"""The verbs of the command line, end to end, as a person and as a program calls them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.pipeline.conftest import Done
from wsi_vit import console
from wsi_vit.cli import app

pytestmark = pytest.mark.usefixtures("as_environment")


def called(*arguments: object, code: int = console.OK) -> str:
    result = CliRunner().invoke(app, [str(item) for item in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def told(*arguments: object, code: int = console.OK) -> Any:
    return json.loads(called(*arguments, "--json", code=code))


def test_tile_names_the_lost_slides_and_ends_with_3(
    done: Done, recipe_file: Path, cohort: Path
) -> None:
    rows = told("tile", recipe_file, "--cohort", cohort, code=console.QUARANTINED)
    table = called("tile", recipe_file, "--cohort", cohort, code=console.QUARANTINED)

    assert [row["state"] for row in rows] == ["reused"] * 4 + ["quarantined"] * 2
    assert "[not_a_slide]" in table


def test_plan_says_what_is_there_already(done: Done, recipe_file: Path, cohort: Path) -> None:
    found = told("plan", recipe_file, "--cohort", cohort, code=console.QUARANTINED)

    assert [slide["cached"] for slide in found["slides"]] == [True] * 4 + [False] * 2
    assert [slide["reason"] for slide in found["slides"]][4:] == ["not_a_slide", "missing"]
    assert found["slides"][0]["tiles"] == done.slides[0].tiles


def test_run_with_everything_there_says_how_good_it_is(
    done: Done, recipe_file: Path, cohort: Path
) -> None:
    found = told("run", recipe_file, "--cohort", cohort, code=console.QUARANTINED)
    spoken = called("run", recipe_file, "--cohort", cohort, code=console.QUARANTINED)

    assert found["run"] == str(done.run)
    assert found["quarantined"] == ["letter", "lost"]
    assert [Path(sheet).is_file() for sheet in found["contact_sheets"]] == [True]
    assert found["model"]["decision"] == "kept"
    assert str(done.run / "report.html") in spoken.replace("\n", "")


def test_dataset_train_evaluate_register_and_models_agree(
    done: Done, recipe_file: Path, good_cohort: Path
) -> None:
    folder = told("dataset", recipe_file, "--cohort", good_cohort)["folder"]

    assert folder == str(done.dataset)
    assert "unseen patients" in called("dataset", recipe_file, "--cohort", good_cohort)
    assert str(done.run) in called("train", recipe_file, "--dataset", folder)
    assert told("evaluate", done.run)["estimate"] == "unseen patients"
    assert told("evaluate", done.run, folder)["estimate"] == "unseen patients"
    assert told("register", done.run)["version"] == 1
    assert told("models")[-1]["name"] == "wsi-vit-tiny"
    assert "macro_f1" in called("models")


def test_predict_ends_with_3_where_a_slide_is_lost(
    done: Done, cohort: Path, tmp_path: Path
) -> None:
    bad = cohort.parent / "slides" / "letter.svs"

    row = told("predict", done.run, bad, "--out", tmp_path, code=console.QUARANTINED)

    assert (row["reason"], row["source"]) == ("not_a_slide", str(bad))
    assert list(tmp_path.glob("letter*")) == []


def test_why_reaches_the_slides(done: Done, cohort: Path) -> None:
    spoken = called("why", done.run)
    tree = told("why", done.run)

    stages: set[str] = set()

    def walk(cause: dict[str, Any]) -> None:
        stages.add(cause["stage"])
        for below in cause["causes"]:
            walk(below)

    walk(tree)
    assert {"run", "dataset", "tiles", "tile-labels", "input"} <= stages
    assert "slide: input" in spoken
    assert "training = " in spoken


def test_verify_finds_all_well_and_then_the_damage(done: Done) -> None:
    assert told("verify", done.run)["faults"] == []

    card = done.run / "model" / "card.md"
    whole = card.read_bytes()
    card.unlink()
    try:
        (fault,) = told("verify", done.run, code=console.FAILED)["faults"]
    finally:
        card.write_bytes(whole)
    assert fault["problem"] == "missing"


def test_slides_are_looked_at_one_by_one(cohort: Path) -> None:
    slides = cohort.parent / "slides"

    assert told("slides", "info", slides / "synthetic-001.svs")["width"] == 1536
    checked = told(
        "slides",
        "check",
        slides / "synthetic-001.svs",
        slides / "letter.svs",
        code=console.QUARANTINED,
    )
    assert [report["reason"] for report in checked] == [None, "not_a_slide"]
