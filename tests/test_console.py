import json
from pathlib import Path

import pytest

from wsi_vit import console
from wsi_vit.errors import RecipeError, SlideError, Stopped, TrainingError, WsiVitError
from wsi_vit.pipeline import PredictionOutcome

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RecipeError("No such recipe", got="a[b]", remedy="Look"), 2),
        (Stopped("Stopped as asked", remedy="Go on"), 75),
        (TrainingError("The disk is full", remedy="Free space"), 1),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    error: WsiVitError, code: int, capsys: Capture
) -> None:
    assert console.exit_code(error) == code

    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{type(error).__name__} {error}\n"


def test_json_is_all_that_a_program_reads(capsys: Capture) -> None:
    outcome = PredictionOutcome(slide_id="a", state="predicted", folder=Path("out/a"))

    console.print_json({"found": [outcome], "where": Path("out")})

    found = json.loads(capsys.readouterr().out)
    assert found["where"] == "out"
    assert found["found"][0]["folder"] == "out/a"
    assert found["found"][0]["reason"] is None


def test_a_number_that_json_does_not_know_is_no_json(capsys: Capture) -> None:
    with pytest.raises(ValueError, match="JSON"):
        console.print_json({"score": float("nan")})


def test_a_table_shows_figures_gaps_and_brackets(capsys: Capture) -> None:
    console.print_table(
        [{"slide": "[a]", "share": 0.12345, "note": None}, {"slide": "b", "share": 1, "note": "x"}],
        title="Slides",
    )

    out = capsys.readouterr().out
    assert "Slides" in out
    assert "[a]" in out
    assert "0.123" in out
    assert "None" not in out


def test_an_empty_table_prints_nothing(capsys: Capture) -> None:
    console.print_table([], title="Slides")

    assert capsys.readouterr().out == ""


def test_progress_is_silent_where_nobody_watches(capsys: Capture) -> None:
    with console.progress_bars() as progress:
        progress("tiling slides: a[1]", 0, 2)
        progress("tiling slides", 2, 2)

    assert capsys.readouterr() == ("", "")


def test_one_bar_a_task_names_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console

    screen = StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(console, "_err", terminal)

    with console.progress_bars() as progress:
        for index, slide in enumerate(["a[/b]", "[red]c"]):
            progress(f"predicting: {slide}", index, 2)

    last = screen.getvalue().rpartition("predicting")[2]
    assert "1/2" in last
    assert "[red]c" in last


def test_a_slide_error_names_its_reason_first() -> None:
    from wsi_vit.errors import Reason

    assert str(SlideError(Reason.NO_MPP, "No size", remedy="Give mpp")).startswith("[no_mpp] ")
