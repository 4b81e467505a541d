"""Several evaluations in one picture, each in a panel and with words of its own."""

from typing import Any, Literal

from wsi_vit.evaluation.records import ClassScores, Evaluation, Score
from wsi_vit.evaluation.side_by_side import (
    class_scores_in_words,
    headline_in_words,
    side_by_side_chart,
)


def measured(
    task: Literal["segmentation", "classification"], scores: dict[str, tuple[float, ...] | None]
) -> Evaluation:
    """Return what is drawn of an evaluation: its task, its headline and its classes."""
    metric, headline = ("iou", "mean_iou") if task == "segmentation" else ("f1", "macro_f1")

    def score(name: str, values: tuple[float, ...] | None) -> Score:
        return Score(
            name=name, **dict(zip(("value", "low", "high"), values or (None,), strict=False))
        )

    rows: Any = tuple(
        ClassScores(name=name, colour="#000000", support=1, scores=(score(metric, values),))
        for name, values in scores.items()
    )
    return Evaluation.model_construct(
        task=task, headline=score(headline, next(iter(scores.values()))), classes=rows
    )


STREET = measured("segmentation", {"car": (0.9, 0.8, 0.95), "sign": (0.04, 0.0, 0.3), "bin": None})
TISSUE = measured("classification", {"tumour": (0.5,)})


def test_each_run_has_a_panel_with_its_headline_classes_and_metric() -> None:
    street, tissue = side_by_side_chart({"sidewalk_4": STREET, "wsi": TISSUE}).axes

    assert street.get_title(loc="left") == "sidewalk_4\nmean IoU 0.90 (0.80 to 0.95)"
    assert [tick.get_text() for tick in street.get_yticklabels()] == ["car", "sign", "bin"]
    assert [bar.get_width() for bar in street.patches] == [0.9, 0.04]  # an absent class has none
    assert [list(line.get_xdata()) for line in street.lines] == [[0.8, 0.95], [0.0, 0.3]]
    assert tissue.get_title(loc="left") == "wsi\nmacro-F1 0.50"
    assert tissue.get_xlabel() == "F1, test split"
    assert len(tissue.lines) == 0  # no interval was given
    heights = {axes.get_ylim()[1] - axes.get_ylim()[0] for axes in (street, tissue)}
    assert len(heights) == 1  # a bar is as thick in every panel


def test_words_say_the_same() -> None:
    assert headline_in_words(STREET) == "mean IoU 0.90 (0.80 to 0.95)"
    assert class_scores_in_words(STREET) == "IoU: car 0.90, sign 0.04, bin –"  # noqa: RUF001
    assert class_scores_in_words(TISSUE) == "F1: tumour 0.50"
