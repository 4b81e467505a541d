import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, roc_auc_score

from tests.evaluation.fakes import (
    GLANDS,
    ColourModel,
    MemorySet,
    mask_set,
    relabelled,
    relabelled_masks,
    tile_set,
)
from wsi_vit.errors import DatasetError, ModelError
from wsi_vit.evaluation.evaluate import evaluate_model, evaluate_run
from wsi_vit.evaluation.inference import count_masks, score_tiles
from wsi_vit.evaluation.records import Evaluation, read_evaluation
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.labels import IGNORE_ID
from wsi_vit.store import file_digest

QUICK = EvaluationSection(resamples=300, batch_size=7)


def evaluated(dataset: MemorySet, **options: float) -> Evaluation:
    model = ColourModel(dataset.labels, dataset.task, **options)
    return evaluate_model(model, dataset, section=QUICK)


def test_a_classifiers_figures_agree_with_scikit_learn() -> None:
    dataset = tile_set()
    model = ColourModel(dataset.labels, "classification", blur=900.0)
    tiles = score_tiles(model, dataset.examples("test"), batch_size=5)

    found = evaluate_model(model, dataset, section=QUICK)

    expected = f1_score(tiles.truth, tiles.scores.argmax(axis=1), average="macro")
    areas = [roc_auc_score(tiles.truth == k, tiles.scores[:, k]) for k in range(3)]
    assert found.headline.name == "macro_f1"
    assert found.headline.value == pytest.approx(expected, abs=1e-6)
    assert [row.score("auroc").value for row in found.classes] == pytest.approx(areas, abs=1e-6)
    assert found.level("tile").score("macro_auroc").value == pytest.approx(np.mean(areas), abs=1e-6)
    assert found.headline.low is not None and found.headline.high is not None
    assert found.headline.low < found.headline.value < found.headline.high


def test_slides_and_patients_get_their_mean_scores_and_commonest_truth() -> None:
    dataset = tile_set(patients=3, per_patient=4)
    model = ColourModel(dataset.labels, "classification")
    tiles = score_tiles(model, dataset.examples("test"), batch_size=5)
    by_hand = [tiles.scores[4 * p : 4 * p + 4].mean(axis=0).argmax() for p in range(3)]

    found = evaluate_model(model, dataset, section=QUICK).level("patient")

    counts = np.array(found.counts)
    assert found.items == 3
    assert counts.sum() == 3
    assert [int(counts[k].argmax()) for k in range(3)] == by_hand


def test_a_segmenters_figures_agree_with_scikit_learn_at_the_masks_own_size() -> None:
    dataset = mask_set()
    examples = dataset.examples("test")
    model = ColourModel(GLANDS, "segmentation", input_px=24)
    found = evaluate_model(model, dataset, section=QUICK)

    truth = np.stack([item.target for item in examples.items])
    images = torch.from_numpy(np.stack([item.image for item in examples.items]))
    model.eval()
    raw = model.scores(model.collate(examples.items)["images"])
    said = torch.nn.functional.interpolate(raw, (48, 48), mode="bilinear").argmax(dim=1).numpy()
    kept = truth != IGNORE_ID
    expected = jaccard_score(truth[kept], said[kept])

    assert images.shape[1:3] == (48, 48)
    assert found.headline.value == pytest.approx(expected, abs=1e-6)
    assert found.background == "background"
    assert found.classes[1].score("iou").value == found.headline.value
    assert found.classes[1].support == int((truth == 1).sum())


def test_patient_figures_of_masks_are_means_over_patients() -> None:
    found = evaluated(mask_set())

    values = [group.value for group in found.per_patient]
    assert len(values) == 5
    assert found.level("patient").score("mean_iou").value == pytest.approx(np.mean(values))


def test_the_split_is_passed_through_the_model_once() -> None:
    dataset = tile_set(patients=2, per_patient=12)
    model = ColourModel(dataset.labels, "classification")

    evaluate_model(model, dataset, section=QUICK)

    assert model.calls == 4  # 24 tiles in batches of 7


def test_batches_and_threads_change_nothing_and_the_mode_is_given_back() -> None:
    dataset = mask_set(patients=2)
    model = ColourModel(GLANDS, "segmentation").train()

    small, large = (
        count_masks(model, dataset.examples("test"), batch_size=size) for size in (1, 100)
    )

    assert np.array_equal(small.counts, large.counts)
    assert model.training


def test_the_same_inputs_give_the_same_bytes_without_nan(tmp_path: Path) -> None:
    dataset = tile_set(patients=2, per_patient=4)
    first = evaluated(dataset).write(tmp_path / "a.json")
    second = evaluated(dataset).write(tmp_path / "b.json")

    assert first.read_bytes() == second.read_bytes()
    assert "NaN" not in first.read_text()
    assert read_evaluation(first) == evaluated(dataset)
    absent = next(row for row in read_evaluation(first).classes if not row.support)
    assert absent.score("auroc").value is None


def test_regions_of_one_patient_give_no_interval_and_say_so() -> None:
    found = evaluated(tile_set(patients=1, per_patient=24, estimate="regions of one patient"))

    assert found.headline.value is not None
    assert found.headline.low is None and found.headline.high is None
    assert found.interval_reason == "one patient: no estimate on unseen patients"
    assert found.estimate == "regions of one patient"
    assert any("never be promoted" in warning for warning in found.warnings)
    assert all(score.low is None for level in found.levels for score in level.scores)


def test_few_patients_and_mixed_slides_are_warned_of() -> None:
    warnings = " ".join(evaluated(tile_set()).warnings)

    assert "Only 6 patients" in warnings
    assert "Slides hold several classes" in warnings


def test_a_model_that_colour_alone_matches_does_not_beat_the_trivial_rules() -> None:
    found = evaluated(tile_set())
    rules = {rule.name: rule.value for rule in found.baselines}

    assert set(rules) == {"majority class", "mean colour", "colour histogram"}
    assert rules["majority class"] < 0.4 < rules["mean colour"]
    assert not found.beats_trivial
    assert "No better than a trivial rule on the same examples" in found.warnings


def test_the_best_constant_of_masks_is_all_foreground_and_is_beaten() -> None:
    dataset = mask_set()
    truth = np.stack([item.target for item in dataset.examples("test").items])
    share = (truth == 1).sum() / (truth != IGNORE_ID).sum()

    rule = evaluated(dataset).baselines[0]

    assert rule.name == "all gland"
    assert rule.value == pytest.approx(share, abs=1e-6)


def test_a_segmenter_is_held_against_the_nearest_colour_too() -> None:
    found = evaluated(mask_set(), input_px=8)

    nearest = found.baselines[1]
    assert nearest.name == "nearest colour"
    assert nearest.value is not None and nearest.value > 0.9
    assert found.headline.value is not None and found.headline.value < nearest.value
    assert not found.beats_trivial


def test_a_segmenter_that_beats_every_rule_says_so() -> None:
    dataset = mask_set()
    dataset.splits["train"] = relabelled_masks(dataset.splits["train"])

    assert evaluated(dataset).beats_trivial


def test_without_training_examples_no_claim_is_made() -> None:
    dataset = tile_set(patients=2)
    dataset.splits.pop("train")

    found = evaluated(dataset)

    assert found.baselines == ()
    assert not found.beats_trivial


def test_unlabelled_tiles_are_left_out() -> None:
    dataset = tile_set(patients=2)
    dataset.splits["test"] = relabelled(dataset.splits["test"], 3, IGNORE_ID)

    assert evaluated(dataset).examples == 23


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DatasetError, match="no labelled example"):
        evaluate_model(
            ColourModel(GLANDS, "segmentation"), mask_set(), split="validation", section=QUICK
        )


def test_a_model_of_other_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="other classes"):
        evaluate_model(ColourModel(GLANDS, "segmentation"), tile_set(), section=QUICK)


def test_scores_that_are_not_finite_are_refused() -> None:
    dataset = tile_set(patients=2)
    model = ColourModel(dataset.labels, "classification")
    torch.nn.init.constant_(model.centres, float("nan"))

    with pytest.raises(ModelError, match="NaN"):
        evaluate_model(model, dataset, section=QUICK)


def test_a_run_gets_its_record_and_its_pictures(tmp_path: Path) -> None:
    dataset = mask_set(patients=2)
    model = ColourModel(GLANDS, "segmentation")
    model.save(tmp_path / "model")

    found = evaluate_run(model, dataset, run=tmp_path, section=QUICK)

    record = json.loads((tmp_path / "metrics.json").read_text())
    figures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert record["model_digest"] == file_digest(tmp_path / "model" / "model.safetensors")
    assert record["dataset_digest"] == dataset.digest
    assert figures == ["classes.png", "confusion.png", "overlays.png"]
    assert found == read_evaluation(tmp_path / "metrics.json")
