"""A page that believes no name it is given: of classes, slides, patients, rules and recipes."""

from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.fakes import ColourModel, tile_set
from tests.evaluation.test_report import parsed
from wsi_vit.evaluation.evaluate import evaluate_model
from wsi_vit.evaluation.page import facts, table
from wsi_vit.evaluation.records import Baseline, Evaluation, GroupScore
from wsi_vit.evaluation.report import About, read_epochs, write_report
from wsi_vit.evaluation.section import EvaluationSection

EVIL = "<script>alert('1')</script>\" onload=\"x"


@pytest.fixture(scope="module")
def found() -> Evaluation:
    dataset = tile_set(patients=4, per_patient=8)
    model = ColourModel(dataset.labels, "classification")
    return evaluate_model(model, dataset, section=EvaluationSection(resamples=100))


def page_of(folder: Path, evaluation: Evaluation, **changes: Any) -> str:
    evaluation.model_copy(update=changes).write(folder / "metrics.json")
    return write_report(folder, about=About(title="demo")).read_text()


def test_names_of_classes_slides_and_rules_stay_text(found: Evaluation, tmp_path: Path) -> None:
    page = page_of(
        tmp_path,
        found,
        classes=tuple(item.model_copy(update={"name": EVIL}) for item in found.classes),
        per_patient=(GroupScore(name=EVIL, items=1, value=0.5),),
        per_slide=(GroupScore(name=EVIL, items=1, value=0.5),),
        baselines=(Baseline(name=EVIL, how=EVIL, value=0.1),),
        warnings=(EVIL,),
        interval_reason=EVIL,
        model_digest=EVIL,
        split=EVIL,
    )

    tags = parsed(page)
    assert "script" not in {name for name, _ in tags.seen}
    assert not [attrs for _, attrs in tags.seen if "onload" in attrs]
    assert page.count("&lt;script&gt;") >= 9


def test_the_recipe_and_the_command_stay_text(found: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"name: {EVIL}\n")
    found.write(tmp_path / "metrics.json")
    about = About(title="t", trained_on=EVIL, command=EVIL, facts=((EVIL, EVIL),))

    page = write_report(tmp_path, about=about).read_text()

    parsed(page)
    assert "<script" not in page


def test_warnings_stand_before_any_figure_and_are_gone_where_there_are_none(
    found: Evaluation, tmp_path: Path
) -> None:
    page = page_of(tmp_path, found, warnings=("Tiles are regions of the same patient",))

    assert page.index("Read this first") < page.index('class="scale"') < page.index("<table>")
    assert "Tiles are regions of the same patient." in page
    assert "Read this first" not in page_of(tmp_path, found, warnings=())


def test_the_worst_patients_come_first_and_the_rest_are_counted(
    found: Evaluation, tmp_path: Path
) -> None:
    groups = tuple(GroupScore(name=f"pat{i:02}", items=3, value=i / 20) for i in range(20))
    unknown = GroupScore(name="unsaid", items=1, value=None)
    page = page_of(tmp_path, found, per_patient=(*groups[::-1], unknown), patients=21)

    shown = [page.find(group.name) for group in groups]
    assert all(place > 0 for place in shown[:12])
    assert shown[:12] == sorted(shown[:12])
    assert shown[12:] == [-1] * 8
    assert "unsaid" not in page
    assert "9 better ones are in metrics.json" in page


def test_a_run_without_pictures_or_a_journal_still_has_a_page(
    found: Evaluation, tmp_path: Path
) -> None:
    tags = parsed(page_of(tmp_path, found))

    assert "img" not in {name for name, _ in tags.seen}
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "figures").exists()


def test_a_journal_torn_inside_a_letter_is_read_up_to_there(tmp_path: Path) -> None:
    whole = '{"kind": "epoch", "payload": {"number": 1, "note": "M\u00fcller\u2028x"}}\n'.encode()
    (tmp_path / "journal.jsonl").write_bytes(whole + '{"kind": "\u00fc'.encode()[:-1])

    (epoch,) = read_epochs(tmp_path / "journal.jsonl")

    assert epoch["note"] == "M\u00fcller\u2028x"


def test_cells_are_html_already_and_the_rest_is_not() -> None:
    made = table("a<b", ["c<d"], [["<small>1</small>"]], words=0)

    assert "a&lt;b" in made
    assert "c&lt;d" in made
    assert '<td class="words"><small>1</small></td>' in made
    assert "<dt>a&lt;b</dt><dd><code>&amp;</code></dd>" in facts([("a<b", "&")])
