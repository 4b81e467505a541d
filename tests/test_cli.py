import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from wsi_vit import console
from wsi_vit.cli import app, main

runner = CliRunner()


def commands() -> list[list[str]]:
    from flows.commands import register

    register(app)
    group = typer.main.get_command(app)
    verbs: list[list[str]] = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        children = getattr(command, "commands", None)
        verbs += [[name, child] for child in children] if children else [[name]]
    return verbs


@pytest.mark.parametrize("verb", commands(), ids=" ".join)
def test_every_verb_explains_itself_with_an_example(verb: list[str]) -> None:
    result = runner.invoke(app, [*verb, "--help"])

    assert result.exit_code == 0
    assert f"Example: wsi-vit {' '.join(verb)}" in result.output


@pytest.mark.parametrize("verb", commands(), ids=" ".join)
def test_help_breaks_no_line_that_a_terminal_would_break_again(verb: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    for name in verb:
        command = command.commands[name]
    _, *paragraphs = command.help.split("\n\n")

    lines = [line for text in paragraphs for line in text.splitlines() if "Example:" not in line]
    assert [line for line in lines if len(line) > 78] == []


def called(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command as a shell would, and return its exit code."""
    monkeypatch.setattr("sys.argv", ["wsi-vit", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_a_mistake_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(["run", "no_such_recipe"], monkeypatch) == console.USAGE

    error = capsys.readouterr().err
    assert error.startswith("RecipeError No such recipe. Got: no_such_recipe.")
    assert "Traceback" not in error


def test_a_failure_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(["why", str(tmp_path)], monkeypatch) == console.FAILED
    assert "StoreError No manifest" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "modules"), [("tile", "[]"), ("status", "['flows.commands']")])
def test_verbs_of_others_are_looked_for_only_where_one_is_asked_for(
    verb: str, modules: str
) -> None:
    code = f"""
import sys
sys.argv = ["wsi-vit", "{verb}", "--help"]
from wsi_vit.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, [name for name in sys.modules if name == "flows.commands"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == f"0 {modules}"


def test_verify_of_nothing_is_well(tmp_path: Path) -> None:
    result = runner.invoke(app, ["verify", str(tmp_path), "--json"])

    assert result.exit_code == console.OK
    assert json.loads(result.output) == {"files": 0, "faults": []}


def test_brackets_in_messages_are_not_taken_for_markup(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.warn("[no_mpp] a.svs")

    assert "[no_mpp] a.svs" in capsys.readouterr().err
