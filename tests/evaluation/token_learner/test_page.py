"""What a comparison says: record, sentences, figure, page."""

from pathlib import Path

from PIL import Image

from tests.evaluation.token_learner.made import comparison, score
from wsi_vit.evaluation.token_learner.page import write_comparison
from wsi_vit.evaluation.token_learner.records import read_comparison
from wsi_vit.evaluation.token_learner.words import how_tested, result_sentence, side_rows, whom

LOST = comparison(difference=score(-0.02, -0.03, -0.01))


def test_the_sentence_holds_speed_difference_test_size_and_verdict() -> None:
    said = result_sentence(comparison())

    assert "2 learned tokens after block 1" in said
    assert "2.50 (95 % interval 2.40 to 2.60) times as fast" in said
    assert "accuracy on 719 test images changes by -0.005 (95 % interval -0.012 to +0.002)" in said
    assert said.endswith("the lower bound is above -0.02 (2 seeds).")


def test_a_lower_bound_at_the_margin_is_no_proof() -> None:
    assert comparison().holds
    assert not LOST.holds
    assert not comparison(difference=score(0.0, -0.02, 0.02)).holds
    assert "the lower bound is not above -0.02" in result_sentence(LOST)


def test_patients_are_told_where_they_are_known() -> None:
    assert whom(comparison(unit="patients", units=40)) == "719 test images of 40 patients"
    assert "whole patients" in how_tested(comparison(unit="patients", units=40))


def test_the_table_has_a_row_a_side() -> None:
    first, second = side_rows(comparison())

    assert first["accuracy"] == "0.960 (95 % interval 0.950 to 0.970)"
    assert second["steps/s"] == "50.00 (95 % interval 49.00 to 51.00)"


def test_the_folder_holds_a_record_that_reads_back_a_figure_and_a_page(tmp_path: Path) -> None:
    page = write_comparison(comparison(), tmp_path)

    assert read_comparison(tmp_path / "comparison.json") == comparison()
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.width > 1200
    text = page.read_text()
    assert text.count("<img ") == 1
    assert "token_learner_digits --seeds 2" in text
    assert "&lt;b&gt;patients" in text
