import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.fakes import GLANDS, ColourModel, mask_set, tile_set
from wsi_vit.evaluation.evaluate import evaluate_run
from wsi_vit.evaluation.inference import CountedMasks, Names, ScoredTiles
from wsi_vit.evaluation.pictures import choose_masks, most_confident, overlay
from wsi_vit.evaluation.records import read_evaluation
from wsi_vit.evaluation.report import About, read_epochs, write_report
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.words import headline_sentence
from wsi_vit.labels import IGNORE_ID

QUICK = EvaluationSection(resamples=200)


def epoch(number: int, loss: float) -> str:
    validation = {"loss": loss, "metric": "macro_f1", "value": 0.8, "counts": [[1]]}
    payload = {"number": number, "train_loss": loss, "validation": validation, "best": True}
    return json.dumps({"sequence": number, "kind": "epoch", "payload": payload})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    dataset = tile_set()
    model = ColourModel(dataset.labels, "classification", blur=900.0)
    model.save(folder / "model")
    evaluate_run(model, dataset, run=folder, section=QUICK)
    (folder / "recipe.yaml").write_text("name: demo  # <script>alert(1)</script>\n")
    (folder / "journal.jsonl").write_text("\n".join([epoch(1, 0.9), epoch(2, 0.5), '{"torn']))
    return folder


class Tags(HTMLParser):
    """Collects tags, and refuses a page whose tags do not close."""

    EMPTY = frozenset({"meta", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_the_page_needs_nothing_but_itself(run: Path) -> None:
    page = write_report(run).read_text()
    tags = parsed(page)

    names = {name for name, _ in tags.seen}
    assert not names & {"script", "link", "iframe", "object"}
    sources = [attrs["src"] or "" for name, attrs in tags.seen if name == "img"]
    assert len(sources) == 7
    assert all(source.startswith("data:image/") for source in sources)
    assert all(attrs.get("alt") for name, attrs in tags.seen if name == "img")
    assert not re.search(r"https?://", page)


def test_the_page_says_the_result_the_warnings_and_how_to_repeat_it(run: Path) -> None:
    about = About(title="demo", trained_on="6 patients, 72 tiles", command="wsi-vit run demo")
    page = write_report(run, about=about).read_text()

    for words in (
        "On 6 unseen patients (72 tiles of 12 slides) the model named the class of a tile",
        "95 % interval",
        "Only 6 patients",
        "Trained on 6 patients, 72 tiles.",
        "wsi-vit run demo",
        "d" * 64,
        "mean colour",
    ):
        assert words in page


def test_everything_foreign_is_escaped(run: Path, tmp_path: Path) -> None:
    shown = tmp_path / "slide.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(shown)
    evil = '"><script>alert(1)</script>'

    page = write_report(run, about=About(title=evil), slides=[(evil, shown)]).read_text()

    parsed(page)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_huge_picture_of_a_slide_is_made_smaller(run: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 2600, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "huge.png", compress_level=1)

    page = write_report(run, slides=[("slide A", tmp_path / "huge.png")]).read_text()

    assert "data:image/jpeg" in page
    assert "slide A" in page


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_epochs_are_read_once_each_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text("\n".join([epoch(2, 0.5), epoch(1, 0.9), epoch(2, 0.4), '{"torn']))

    assert [item["train_loss"] for item in read_epochs(journal)] == [0.9, 0.4]
    assert read_epochs(tmp_path / "none.jsonl") == []


def test_regions_of_one_patient_are_never_called_unseen(tmp_path: Path) -> None:
    dataset = mask_set(patients=1, estimate="regions of one patient")
    model = ColourModel(GLANDS, "segmentation")
    model.save(tmp_path / "model")
    evaluate_run(model, dataset, run=tmp_path, section=QUICK)

    page = write_report(tmp_path).read_text()

    assert headline_sentence(read_evaluation(tmp_path / "metrics.json")).startswith(
        "On other regions of a patient it has learned from (6 tiles of 1 slide)"
    )
    assert "no estimate on unseen patients" in page
    assert "95 % interval" not in page


def test_the_background_stays_as_it_is_and_classes_are_outlined() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:7, 2:7] = 1
    mask[0, 0] = IGNORE_ID

    drawn = overlay(image, mask, GLANDS)

    assert drawn[7, 0].tolist() == [100, 100, 100]
    assert drawn[2, 4].tolist() == [0xD5, 0x5E, 0x00]
    assert drawn[4, 4].tolist() == [143, 98, 62]
    assert drawn[0, 0].tolist() == [128, 128, 128]


def test_best_median_and_worst_are_chosen_and_empty_ones_passed_over() -> None:
    counts = np.array([[[5, 5], [0, 5]], [[9, 0], [0, 0]], [[9, 0], [0, 9]], [[9, 9], [9, 0]]])
    words = tuple("abcd")
    names = Names(indices=np.arange(4), keys=words, slides=words, patients=words)

    chosen = choose_masks(CountedMasks(names=names, counts=counts), 0)

    assert chosen == {"best: 1.00": 2, "median: 0.50": 0, "worst: 0.00": 3}


def test_classes_take_turns_among_the_surest_tiles() -> None:
    truth = np.array([0, 0, 0, 1])
    top = np.array([0.9, 0.99, 0.95, 0.6])
    scores = np.stack([np.where(truth == 0, top, 1 - top), np.where(truth == 0, 1 - top, top)], 1)
    words = tuple("abcd")
    names = Names(indices=np.arange(4), keys=words, slides=words, patients=words)
    tiles = ScoredTiles(names=names, truth=truth, scores=scores.astype(np.float32))

    assert most_confident(tiles, np.ones(4, bool), at_most=3) == [1, 3, 2]
