from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.making import LABELS, cohort_shards, labels_of
from wsi_vit.datasets.build import SlideShards, build_from_shards
from wsi_vit.datasets.check import check_labels
from wsi_vit.datasets.reading import DatasetExamples, TrainingSet, open_dataset
from wsi_vit.datasets.splits import PatientSplit
from wsi_vit.errors import DatasetError
from wsi_vit.store import Store


def dataset_of(tmp_path: Path, targets: Any = None, *, task: str = "segmentation") -> TrainingSet:
    store = Store(tmp_path / "store")
    shards = cohort_shards(store, slides=5, task=task)
    if targets is not None:
        shards = [
            SlideShards(
                row=s.row, tiles=s.tiles, tile_labels=labels_of(store, s.tiles, targets, task)
            )
            for s in shards
        ]
    split = PatientSplit(validation=0.2, test=0.2)
    artefact = build_from_shards(
        shards,
        labels=LABELS,
        task=task,  # type: ignore[arg-type]
        split=split,
        name="checked",
        store=store,
    )
    return open_dataset(artefact.folder)


def test_a_sound_dataset_is_reported_in_counts(tmp_path: Path) -> None:
    report = check_labels(dataset_of(tmp_path))
    train = report.splits["train"]
    assert (train.examples, train.patients, train.slides) == (21, 3, 3)
    assert train.amount == {"stroma": 9 * 256, "tumour": 12 * 256}
    assert train.sizes == ("16x16",)
    assert report.background_share == pytest.approx(3 / 7)
    assert report.warnings == ()


def test_a_class_that_is_never_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="training never shows tumour"):
        check_labels(dataset_of(tmp_path, [0] * 8, task="classification"))


def test_masks_that_are_mostly_ignored_or_background_are_warned_of(tmp_path: Path) -> None:
    sparse = np.full((16, 16), 255, np.uint8)
    sparse[:2, :4] = 0
    sparse[0, 0] = 1
    report = check_labels(dataset_of(tmp_path, [sparse] * 8))
    assert report.splits["train"].ignored_share == pytest.approx(1 - 8 / 256)
    assert "97% of the train split's pixels are ignored." in report.warnings


def test_masks_of_another_size_than_their_images_are_refused(tmp_path: Path) -> None:
    half = np.zeros((8, 16), np.uint8)
    half[0] = 1
    with pytest.raises(DatasetError, match="not the size of their images"):
        check_labels(dataset_of(tmp_path, [half] * 8))


def test_all_faults_come_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of(tmp_path)
    whole = dataset.examples("train")

    def confused(split: str) -> DatasetExamples:
        return whole.select([]) if split == "validation" else whole

    monkeypatch.setattr(dataset, "examples", confused)
    whole.counts[:] = 0  # what was counted when it was built, tampered with
    with pytest.raises(DatasetError) as caught:
        check_labels(dataset)
    for fault in (
        "the validation split is empty",
        "training never shows stroma, tumour",
        "are not what was counted",
        "3 patients are in more than one split",
    ):
        assert fault in str(caught.value)
