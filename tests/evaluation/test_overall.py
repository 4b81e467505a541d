"""One page over several runs: it holds its pictures, leads to the reports, and believes nobody."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.fakes import ColourModel, tile_set
from tests.evaluation.test_report import parsed
from wsi_vit.evaluation.evaluate import evaluate_run
from wsi_vit.evaluation.overall import OverallRun, write_overall
from wsi_vit.evaluation.section import EvaluationSection

EVIL = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "50% of #1?" / "a1b2"
    dataset = tile_set(patients=2, per_patient=4)
    model = ColourModel(dataset.labels, "classification")
    model.save(run / "model")
    evaluate_run(model, dataset, run=run, section=EvaluationSection(resamples=100))
    return run


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    Image.fromarray(np.full((12, 30, 3), 200, np.uint8)).save(tmp_path / "slide.png")
    return tmp_path / "slide.png"


def page_of(path: Path, folder: Path, slides: Any = (), **registered: Any) -> str:
    runs = [OverallRun.of(folder, registered)]
    return write_overall(path, title="Demo", runs=runs, slides=slides).read_text()


def test_a_run_is_named_after_its_recipe_and_says_its_result(folder: Path, tmp_path: Path) -> None:
    run = OverallRun.of(folder, {})
    page = page_of(tmp_path / "overall.html", folder)

    assert run.name == "50% of #1?"
    assert run.sentence.startswith("On 2 unseen patients")
    assert run.sentence.replace("'", "&#x27;") in page
    assert run.trivial in page


def test_the_page_holds_its_pictures_and_asks_nobody(
    folder: Path, slide: Path, tmp_path: Path
) -> None:
    page = page_of(tmp_path / "overall.html", folder, [("slide A", slide)])
    tags = parsed(page)

    sources = [attrs["src"] or "" for name, attrs in tags.seen if name == "img"]
    assert len(sources) == 3  # the slide, and two figures of the run
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not {name for name, _ in tags.seen} & {"script", "link", "iframe", "object"}
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in page


def test_the_link_leads_to_the_report_whatever_the_recipe_is_called(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "overall.html"
    tags = parsed(page_of(path, folder))

    (link,) = [attrs["href"] or "" for name, attrs in tags.seen if name == "a"]
    assert not set("#?") & set(link)
    assert (path.parent / unquote(link)).resolve() == folder / "report.html"


def test_nothing_foreign_becomes_html(folder: Path, slide: Path, tmp_path: Path) -> None:
    registered = {"name": EVIL, "version": 3, "aliases": ["champion", EVIL], "decision": EVIL}

    page = page_of(tmp_path / "overall.html", folder, [(EVIL, slide)], **registered)

    parsed(page)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "champion, " in page


def test_what_the_registry_does_not_say_is_a_dash(folder: Path, tmp_path: Path) -> None:
    page = page_of(tmp_path / "overall.html", folder, name="wsi-vit", headline=None, aliases=[])

    assert "None" not in page
    assert "<td>–</td>" in page  # noqa: RUF001


def test_no_slides_are_promised_where_none_are_shown(
    folder: Path, slide: Path, tmp_path: Path
) -> None:
    promise = "Slides that neither training nor selection has seen"

    assert promise not in page_of(tmp_path / "a.html", folder)
    assert promise in page_of(tmp_path / "b.html", folder, [("slide A", slide)])


def test_the_same_runs_give_the_same_page(folder: Path, tmp_path: Path) -> None:
    first, second = (page_of(tmp_path / "overall.html", folder) for _ in range(2))

    assert first == second


def test_a_run_that_was_never_evaluated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        OverallRun.of(tmp_path, {})
