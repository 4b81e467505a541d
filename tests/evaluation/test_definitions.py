"""The same counts as others define them: beside ours, only where they differ, and in our words."""

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.fakes import GLANDS, TISSUE, ColourModel, MemorySet, mask_set, tile_set
from wsi_vit.evaluation.definitions import definitions_of
from wsi_vit.evaluation.evaluate import evaluate_model, evaluate_run
from wsi_vit.evaluation.inference import CountedMasks, Names
from wsi_vit.evaluation.records import Definition, read_evaluation
from wsi_vit.evaluation.report import write_report
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.evaluation.units import one_of, so_many
from wsi_vit.evaluation.words import (
    definition_rows,
    definition_sentences,
    headline_sentence,
)

QUICK = EvaluationSection(resamples=200, batch_size=7)
COUNTS = np.array([[70, 30], [5, 15]])


def masks_of(counts: np.ndarray) -> CountedMasks:
    names = Names(indices=np.arange(1), keys=("a",), slides=("a",), patients=("a",))
    return CountedMasks(names=names, counts=counts[None])


def figures(definition: Definition) -> dict[str, float | None]:
    return {score.name: score.value for score in definition.scores}


def test_three_definitions_of_one_table_by_hand() -> None:
    ours, as_class, left_out = definitions_of(masks_of(COUNTS), GLANDS, None)

    assert [d.name for d in (ours, as_class, left_out)] == [
        "ours",
        "background as a class",
        "true background pixels left out",
    ]
    assert figures(ours) == {"mean_accuracy": 0.75, "mean_iou": 0.3, "pixel_accuracy": 85 / 120} | {
        "pixel_accuracy": pytest.approx(85 / 120, abs=1e-6)
    }
    assert figures(as_class)["mean_iou"] == pytest.approx((70 / 105 + 0.3) / 2, abs=1e-6)
    assert figures(as_class)["mean_accuracy"] == pytest.approx((0.7 + 0.75) / 2)
    assert figures(left_out) == {"mean_accuracy": 0.75, "mean_iou": 0.375, "pixel_accuracy": 0.75}
    assert [score.value for score in left_out.classes] == [0, 0.75]


def test_only_what_differs_is_recorded() -> None:
    perfect = np.array([[100, 0], [0, 20]])
    no_false_alarm = np.array([[0, 0], [0, 20]])

    assert definitions_of(masks_of(perfect), GLANDS, None) == ()
    assert definitions_of(masks_of(no_false_alarm), GLANDS, None) == ()


def test_without_a_background_there_is_one_definition() -> None:
    assert definitions_of(masks_of(np.ones((3, 3), np.int64)), TISSUE, None) == ()
    model = ColourModel(TISSUE, "classification")
    assert evaluate_model(model, tile_set(patients=2), section=QUICK).definitions == ()


def test_every_definition_has_its_interval_and_ours_is_the_headline() -> None:
    found = evaluate_model(ColourModel(GLANDS, "segmentation"), mask_set(), section=QUICK)

    ours = found.definitions[0]
    assert ours.scores[1] == found.headline
    assert ours.classes[1].model_copy(update={"name": "iou"}) == found.classes[1].score("iou")
    for definition in found.definitions:
        mean = definition.scores[1]
        assert mean.low is not None and mean.value is not None and mean.high is not None
        assert mean.low <= mean.value <= mean.high


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model = ColourModel(GLANDS, "segmentation", input_px=16)
    model.save(folder / "model")
    evaluate_run(model, in_runs(mask_set(per_patient=1)), run=folder, section=QUICK)
    return folder


def in_runs(dataset: MemorySet) -> MemorySet:
    dataset.unit, dataset.estimate = "runs of five frames", "unseen sites"
    return dataset


def test_the_report_shows_them_side_by_side_and_says_what_compares(run: Path) -> None:
    page = write_report(run).read_text()

    assert "The same counts, as others define them" in page
    assert ">true background pixels left out</th>" in page
    assert "ignore_index=0" in page
    found = read_evaluation(run / "metrics.json")
    assert [row["definition"] for row in definition_rows(found)] == [
        definition.name for definition in found.definitions
    ]
    assert list(definition_rows(found)[0])[-1] == "IoU of background gland"
    alike = found.model_copy(update={"definitions": ()})
    assert definition_sentences(alike) == ""


def test_a_report_speaks_of_the_datasets_own_units_and_unseen_sites(run: Path) -> None:
    page = write_report(run).read_text()
    found = read_evaluation(run / "metrics.json")

    assert headline_sentence(found).startswith(
        "On 5 runs of five frames of sites not seen in training (5 images) "
    )
    one = found.model_copy(update={"estimate": "unseen site"})
    assert "of one site not seen in training" in headline_sentence(one)
    assert "Only 5 runs of five frames" in page
    assert "bootstrap over 5 runs of five frames" in page
    assert "patient" not in page.split("</style>")[1]
    assert "slide" not in page.split("</style>")[1]


@pytest.mark.parametrize(
    ("unit", "one"),
    [("patients", "patient"), ("runs of five frames", "run of five frames"), ("photos", "photo")],
)
def test_units_are_counted_in_words(unit: str, one: str) -> None:
    assert one_of(unit) == one
    assert so_many(1, unit, which="unseen") == f"1 unseen {one}"
    assert so_many(1200, unit) == f"1,200 {unit}"
