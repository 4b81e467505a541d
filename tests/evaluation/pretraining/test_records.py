"""What is said of a pre-trained model."""

from pathlib import Path
from typing import Any

import pytest

from wsi_vit.evaluation.pretraining.records import PretrainingEvaluation, read_pretraining
from wsi_vit.evaluation.records import Score


def found(**changes: Any) -> PretrainingEvaluation:
    made = PretrainingEvaluation(
        split="test",
        estimate="unseen patients",
        dataset_digest="d" * 64,
        split_digest="s" * 64,
        model_digest="m" * 64,
        resamples=10_000,
        seed=0,
        examples=1200,
        patients=30,
        unit="patients",
        hidden_share=0.75,
        error=Score(name="error", value=0.31, low=0.28, high=0.34),
        mean_colour=Score(name="mean colour", value=0.37, low=0.35, high=0.39),
        gain=Score(name="gain", value=0.06, low=0.04, high=0.08),
    )
    return made.model_copy(update=changes)


def test_the_sentence_says_on_whom_how_much_was_hidden_and_beside_what() -> None:
    assert found().sentence() == (
        "On 1,200 images of 30 unseen patients, of which 75% was hidden, the error is 0.31 "
        "(95 % interval 0.28 to 0.34): it beats the mean colour of what is seen, with 0.37."
    )
    assert "1 validation patient," in found(split="validation", patients=1).sentence()


@pytest.mark.parametrize(
    ("gain", "beats"),
    [
        (Score(name="gain", value=0.06, low=-0.01, high=0.1), False),
        (Score(name="gain", value=0.06), True),
        (Score(name="gain", value=-0.2), False),
        (Score(name="gain", value=None), False),
    ],
)
def test_it_beats_a_colour_where_the_interval_is_above_zero(gain: Score, beats: bool) -> None:  # noqa: FBT001
    said = found(gain=gain)

    assert said.beats_trivial is beats
    assert ("does not beat" in said.sentence()) is not beats


def test_the_record_reads_back(tmp_path: Path) -> None:
    assert read_pretraining(found().write(tmp_path / "metrics.json")) == found()
