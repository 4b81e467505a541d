"""Releases of Segments.ai, made as the documentation of the export and their SDK describe them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.datasets.test_scenes import built, label_map
from wsi_vit.datasets.segments import SegmentsSource, instance_ids
from wsi_vit.datasets.splits import PatientSplit
from wsi_vit.errors import DatasetError
from wsi_vit.store import Store

BASE = "https://segmentsai-prod.s3.eu-west-2.amazonaws.com/assets/jane"


def bitmap(instances: np.ndarray) -> Image.Image:
    """Encode ids as `segments.utils.bitmap2file`: little-endian bytes as RGBA, alpha 255."""
    pixels = instances.astype("<u4")[..., None].view(np.uint8).copy()
    pixels[..., 3] = 255
    return Image.fromarray(pixels)


def sample(number: int, status: str = "LABELED") -> dict[str, Any]:
    annotations = [
        {"id": 1, "category_id": 1, "attributes": {"truncated": False}},
        {"id": 70_000, "category_id": 2},
    ]
    label = {
        "label_status": status,
        "attributes": {
            "format_version": "0.1",
            "annotations": annotations,
            "segmentation_bitmap": {"url": f"{BASE}/{number}-label.png"},
        },
    }
    return {
        "uuid": f"u{number}",
        "name": f"walk{number // 4}/street {number}.jpg",
        "attributes": {"image": {"url": f"{BASE}/{number}.jpg"}},
        "metadata": {},
        "labels": {"ground-truth": label},
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Twelve samples as the SDK lays them out: a car in the middle, a person with a great id."""
    root = tmp_path / "export"
    pictures = root / "segments/jane_sidewalk/v1.0"
    instances = np.zeros((8, 12), np.uint32)
    instances[2:6, 2:6], instances[2:6, 8:10] = 1, 70_000
    samples = [sample(number) for number in range(12)]
    for number, item in enumerate(samples):
        stem = pictures / item["name"].removesuffix(".jpg")
        stem.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (8, 12, 3), np.uint8)
        Image.fromarray(noise).save(f"{stem}.jpg")
        bitmap(instances).save(f"{stem}_label_ground-truth.png")
    write(root, release(samples))
    return root


def release(samples: list[dict[str, Any]], first: int = 1) -> dict[str, Any]:
    categories = [
        {"id": first, "name": "vehicle-car", "color": [0, 113, 188]},
        {"id": first + 1, "name": "human-person", "color": [216, 82, 24]},
    ]
    return {
        "name": "v1.0",
        "dataset": {
            "name": "sidewalk",
            "owner": "jane",
            "task_type": "segmentation-bitmap",
            "task_attributes": {"format_version": "0.1", "categories": categories},
            "labelsets": [{"name": "ground-truth", "description": ""}],
            "samples": samples,
        },
    }


def write(root: Path, content: dict[str, Any]) -> None:
    (root / "sidewalk-v1.0.json").write_text(json.dumps(content))


def content(root: Path) -> dict[str, Any]:
    return json.loads((root / "sidewalk-v1.0.json").read_text())


def source(root: Path, **changes: Any) -> SegmentsSource:
    return SegmentsSource(root=root, unknown="background", **changes)


def test_instances_become_their_categories_by_name(export: Path, store: Store) -> None:
    labels = label_map("human person", "Vehicle-Car")
    dataset = built(
        source(export, patient="^(walk[0-9]+)/"),
        labels,
        store,
        PatientSplit(validation=0.3, test=0.3),
    )
    assert dataset.facts["source"]["gathered"]["human person"] == [2]
    target = dataset.examples("train")[0].target
    assert (target[3, 3], target[3, 9], target[0, 0]) == (2, 1, 0)
    assert dataset.facts["patients"] == 3
    assert dataset.facts["source"]["elsewhere"]["0"]["name"] == "unlabeled"


def test_the_ids_of_a_bitmap_are_its_bytes_or_the_grey_values_of_the_cache(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 255], [256, 65_535, 70_000]], np.uint32)
    bitmap(ids).save(tmp_path / "a.png")
    assert np.array_equal(instance_ids((tmp_path / "a.png").read_bytes()), ids)
    small = ids.clip(max=40_000).astype(np.uint16)
    Image.fromarray(small).save(tmp_path / "b.png")
    assert np.array_equal(instance_ids((tmp_path / "b.png").read_bytes()), small)
    Image.new("CMYK", (3, 3)).save(tmp_path / "c.tif")
    with pytest.raises(ValueError, match="CMYK pixels, which are no instance ids"):
        instance_ids((tmp_path / "c.tif").read_bytes())


def test_a_category_of_id_0_is_no_unlabeled(export: Path) -> None:
    samples = content(export)["dataset"]["samples"]
    for item in samples:
        for one in item["labels"]["ground-truth"]["attributes"]["annotations"]:
            one["category_id"] -= 1
    write(export, release(samples, first=0))
    assert source(export).names() == {"unlabeled": 0, "vehicle-car": 1, "human-person": 2}
    ids = source(export).find()[0].source_ids()
    assert (ids[0, 0], ids[3, 3], ids[3, 9]) == (0, 1, 2)


def test_samples_without_a_finished_label_are_left_out_and_counted(
    export: Path, store: Store
) -> None:
    changed = content(export)
    samples = changed["dataset"]["samples"]
    samples[0]["labels"]["ground-truth"]["label_status"] = "PRELABELED"
    samples[1]["labels"]["ground-truth"] = None
    write(export, changed)
    dataset = built(source(export), label_map("vehicle-car"), store)
    assert dataset.facts["examples"] == 10
    dropped = dataset.facts["source"]["dropped"]
    assert {reason: found["images"] for reason, found in dropped.items()} == {
        "status PRELABELED": 1,
        "status UNLABELED": 1,
    }
    assert len([i for i in source(export, statuses=("PRELABELED",)).find() if not i.left_out]) == 1


def test_lost_files_and_strange_instances_are_all_told(export: Path, store: Store) -> None:
    pictures = export / "segments/jane_sidewalk/v1.0"
    (pictures / "walk0/street 0.jpg").unlink()
    (pictures / "walk0/street 1_label_ground-truth.png").unlink()
    bitmap(np.full((8, 12), 9)).save(pictures / "walk0/street 2_label_ground-truth.png")
    bitmap(np.ones((4, 4))).save(pictures / "walk0/street 3_label_ground-truth.png")
    with pytest.raises(DatasetError) as caught:
        built(source(export), label_map("vehicle-car"), store)
    for expected in (
        "4 problems",
        "street 0.jpg: is not there (walk0/street 0.jpg)",
        "street 1.jpg: its mask is not there (walk0/street 1_label_ground-truth.png)",
        "street 2.jpg: its mask shows 1 instances without a category: 9",
        "street 3.jpg: its mask is (4, 4), not (8, 12)",
    ):
        assert expected in str(caught.value)
    assert list(store.artefacts()) == []


def test_a_folder_without_one_release_of_bitmaps_is_refused(export: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no release file"):
        source(tmp_path).find()
    with pytest.raises(DatasetError, match=r"no such label set.*ground-truth"):
        source(export, labelset="model-predictions").find()
    changed = content(export)
    changed["dataset"]["task_type"] = "vector"
    (export / "other.json").write_text(json.dumps(changed))
    with pytest.raises(DatasetError, match=r"several release files.*other\.json"):
        source(export).find()
    with pytest.raises(DatasetError, match=r"no bitmaps of segments.*vector"):
        source(export, release="other.json").find()
    del changed["dataset"]["samples"][:]
    changed["dataset"]["task_type"] = "segmentation-bitmap"
    write(export, changed)
    with pytest.raises(DatasetError, match="holds no images"):
        source(export, release="sidewalk-v1.0.json").find()


def test_malformed_samples_are_all_told(export: Path) -> None:
    changed = content(export)
    del changed["dataset"]["samples"][3]["name"]
    del changed["dataset"]["samples"][5]["labels"]["ground-truth"]["attributes"]["annotations"]
    write(export, changed)
    with pytest.raises(DatasetError, match=r"(?s)2 problems.*sample 3:.*name.*sample 5:.*annot"):
        source(export).find()
