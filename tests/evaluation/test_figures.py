"""Charts that are there, not blank, and say what the record says."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.fakes import GLANDS, ColourModel, mask_set, tile_set
from wsi_vit.evaluation.evaluate import evaluate_model
from wsi_vit.evaluation.figures import (
    class_chart,
    confusion_chart,
    draw_charts,
    reliability_chart,
    roc_chart,
    short_count,
    training_chart,
)
from wsi_vit.evaluation.pictures import Shown, overlay_figure
from wsi_vit.evaluation.records import ClassScores, Evaluation, Score
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.style import line_of, new_figure, panel, save

QUICK = EvaluationSection(resamples=100)


@pytest.fixture(scope="module")
def tiles() -> Evaluation:
    dataset = tile_set()
    model = ColourModel(dataset.labels, "classification", blur=900.0)
    return evaluate_model(model, dataset, section=QUICK)


@pytest.fixture(scope="module")
def masks() -> Evaluation:
    dataset = mask_set(patients=2)
    return evaluate_model(ColourModel(GLANDS, "segmentation"), dataset, section=QUICK)


def words_of(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def row(name: str, value: float | None, low: float | None = None) -> ClassScores:
    high = None if low is None else 0.99
    scores = (Score(name="f1", value=value, low=low, high=high),)
    return ClassScores(name=name, colour="#000000", support=3, scores=scores)


def test_every_chart_is_a_picture_with_ink_on_it(tiles: Evaluation, tmp_path: Path) -> None:
    paths = draw_charts(tiles, tmp_path)

    assert [path.name for path in paths] == [
        "confusion.png",
        "classes.png",
        "roc.png",
        "reliability.png",
    ]
    for path in paths:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert min(pixels.shape[:2]) > 300
        assert (pixels != 255).any(axis=2).mean() > 0.01
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_masks_get_the_charts_that_suit_them(masks: Evaluation, tmp_path: Path) -> None:
    assert [path.stem for path in draw_charts(masks, tmp_path)] == ["confusion", "classes"]


def test_the_same_record_draws_the_same_bytes(masks: Evaluation, tmp_path: Path) -> None:
    first, second = (draw_charts(masks, tmp_path / name)[1].read_bytes() for name in "ab")

    assert first == second


def test_the_confusion_shows_shares_of_the_truth_and_counts(tiles: Evaluation) -> None:
    level = tiles.levels[0].model_copy(update={"counts": ((30, 10, 0), (0, 0, 0), (1, 0, 99_999))})
    words = words_of(confusion_chart(tiles.model_copy(update={"levels": (level,)})))

    for expected in ("75%\n30", "25%\n10", "100%\n100k", "0%\n1", "tumour", "predicted", "truth"):
        assert expected in words
    assert words.count("0%\n0") == 5  # an absent class's row is empty, not a division by zero


def test_bars_are_as_long_as_their_figures_and_an_absent_class_says_so() -> None:
    figure = class_chart([row("a", 0.25, 0.1), row("b", None), row("c", 0.5)])

    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.5]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0.1, 0.99]]
    assert "not in this split" in words_of(figure)


def test_the_legend_of_the_curves_names_the_areas(tiles: Evaluation) -> None:
    words = words_of(roc_chart(tiles.roc, tiles.classes))

    for found in tiles.classes:
        assert f"{found.name}  {found.score('auroc').value:.3f}" in words


def test_the_reliability_says_its_two_figures(tiles: Evaluation) -> None:
    assert tiles.calibration is not None
    words = words_of(reliability_chart(tiles.calibration, things="tiles"))

    assert (
        f"Reliability: ECE {tiles.calibration.ece:.3f}, Brier {tiles.calibration.brier:.3f}"
        in words
    )


def epoch(number: int, value: float, *, best: bool = False) -> dict[str, Any]:
    validation = {"loss": 1 / number, "metric": "mean_iou", "value": value}
    return {"number": number, "train_loss": 1.5 / number, "validation": validation, "best": best}


def test_the_ring_is_on_the_last_best_epoch() -> None:
    best = [epoch(1, 0.4, best=True), epoch(2, 0.7, best=True), epoch(3, 0.6)]
    figure = training_chart(best)

    words = words_of(figure)
    assert "kept: 0.70" in words
    assert "mean IoU" in words
    ring = figure.axes[1].lines[-1]
    assert ring.get_xydata().tolist() == [[2, 0.7]]


@pytest.mark.parametrize(
    "epochs",
    [
        [{"number": 1}],
        [{"number": 1, "train_loss": 0.5, "validation": None}],
        [{"number": 1, "train_loss": None, "validation": {}}, epoch(2, 0.5, best=True)],
        [epoch(n, 0.5) for n in range(1, 41)],
    ],
)
def test_epochs_with_gaps_are_drawn_as_far_as_they_go(
    epochs: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = save(training_chart(epochs), tmp_path / "training.png")

    with Image.open(path) as picture:
        assert picture.getextrema() != ((255, 255),) * 3


@pytest.mark.parametrize("name", [r"$\frac$", "a$_$b", "CD3$^$", "100 % ${x}$", "a_b^c"])
def test_a_name_with_dollars_is_a_name_and_no_formula(name: str, tmp_path: Path) -> None:
    """A slide called so took the whole evaluation down, after the training."""
    figure = new_figure(width_in=2, height_in=1)
    axes = panel(figure)[0, 0]
    axes.set_title(name)
    axes.set_xticks([0, 1], [name, name])
    axes.plot([0, 1], [0, 1], label=name)
    axes.legend()

    save(figure, tmp_path / "names.png")
    save(class_chart([row(name, 0.5, 0.4)]), tmp_path / "classes.png")
    item = mask_set(patients=1).examples("test").items[0]
    shown = Shown(example=item, prediction=item.target, title=name)
    save(overlay_figure([shown], GLANDS), tmp_path / "overlay.png")

    assert all(path.stat().st_size > 1000 for path in tmp_path.glob("*.png"))


@pytest.mark.parametrize("size", [(90, 180), (120, 120), (180, 120)])
def test_rows_of_pictures_lie_close_whatever_their_shape(size: tuple[int, int]) -> None:
    item = mask_set(patients=1).examples("test").items[0]
    image, target = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    item = dataclasses.replace(item, image=image, target=target)
    figure = overlay_figure([Shown(example=item, prediction=target, title="a")] * 3, GLANDS)
    figure.draw_without_rendering()

    first, second = (figure.axes[at].get_window_extent() for at in (0, 3))
    assert (first.y0 - second.y1) / figure.dpi < 0.5  # inches: the name of the file, and air
    assert second.height / second.width == pytest.approx(size[0] / size[1], rel=0.01)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0"), (912, "912"), (9999, "9999"), (12_345, "12.3k"), (4.56e6, "4.56M"), (2e9, "2G")],
)
def test_counts_are_written_in_few_characters(count: float, expected: str) -> None:
    assert short_count(count) == expected


@pytest.mark.parametrize("count", [999_499, 999_999, 999_999_999])
def test_a_count_just_below_a_step_is_not_written_in_powers_of_ten(count: int) -> None:
    assert "e" not in short_count(count)


def test_no_two_of_thirty_two_lines_are_alike() -> None:
    assert len({line_of(index) for index in range(32)}) == 32
