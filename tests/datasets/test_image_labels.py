"""Several labels an image: told by a table, seen in masks, listed on the hub, and published."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from wsi_vit.datasets.build import build_from_images
from wsi_vit.datasets.camvid import CamVidSource
from wsi_vit.datasets.check import check_labels
from wsi_vit.datasets.folder import FolderSource, MaskRule
from wsi_vit.datasets.hub import HubSource
from wsi_vit.datasets.images import ImageSource
from wsi_vit.datasets.plan import Plan
from wsi_vit.datasets.publish import Pseudonyms, export_dataset
from wsi_vit.datasets.publish_card import Listing
from wsi_vit.datasets.reading import TrainingSet, open_dataset
from wsi_vit.datasets.splits import CohortSplit, PatientSplit
from wsi_vit.datasets.targets import count_targets, is_labelled, presence_of
from wsi_vit.errors import DatasetError, LabelError
from wsi_vit.labels import IGNORE_ID, LabelMap, present
from wsi_vit.store import Store

LABELS = LabelMap.model_validate(
    {
        "classes": [
            {"name": "polyp", "colour": "#d55e00"},
            {"name": "ulcer", "colour": "#0072b2", "source": ["ulcer", "erosion"]},
        ]
    }
)
BY_ID = LabelMap.model_validate(
    {
        "classes": [
            {"name": "polyp", "colour": "#d55e00", "source": [1]},
            {"name": "ulcer", "colour": "#0072b2", "source": [2, 3]},
        ]
    }
)
TABLE = """file,patient,polyp,ulcer,erosion
a/1.png,ada,1,0,0
a/2.png,ada,1.0,0.0,1
b/3.png,ben,0,,0
b/4.png,ben,0,0,0
c/5.png,cy,,,
c/6.png,cy,1,1,1
"""


def folder_of(root: Path, table: str = TABLE) -> Path:
    """Lay out seven images, of which a table names six."""
    for number, folder in enumerate("aabbccc", start=1):
        (root / folder).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / folder / f"{number}.png")
    (root / "labels.csv").write_text(table)
    return root


def dataset_of(source: ImageSource, store: Path, labels: LabelMap = LABELS, **split: Any) -> Any:
    asked = PatientSplit(validation=0.34, test=0.33) if not split else split["split"]
    built = build_from_images(
        source, labels=labels, task="multi_label", split=asked, name="tiny", store=Store(store)
    )
    return open_dataset(built.folder)


def shown(data: TrainingSet) -> dict[str, list[int]]:
    parts = [data.examples(split) for split in ("train", "validation", "test")]
    return {
        example.key: example.target.tolist()
        for part in parts
        for example in part.__getitems__(range(len(part)))
    }


def test_a_table_says_what_is_present_absent_and_not_known(tmp_path: Path) -> None:
    source = FolderSource(root=folder_of(tmp_path / "data"), table="labels.csv")
    data = dataset_of(source, tmp_path / "store")

    assert shown(data) == {
        "1": [1, 0],
        "2": [1, 1],  # one of two columns that the label gathers
        "3": [0, IGNORE_ID],
        "4": [0, 0],  # none of them, and learnt from
        "6": [1, 1],
    }
    assert data.facts["unlabelled"] == 1  # of the fifth nobody knows anything
    assert data.facts["source"]["dropped"]["no row in the table of labels"]["images"] == 1
    assert data.unit == "patients"
    assert data.examples("train").counts.shape[1] == 3


def test_all_that_is_wrong_with_a_table_is_told_at_once(tmp_path: Path) -> None:
    table = "file,polyp,ulcer\na/1.png,1,maybe\na/1.png,1,0\n../x.png,0,0\nb/3.png,0\n"
    source = FolderSource(root=folder_of(tmp_path, table), table="labels.csv")
    with pytest.raises(DatasetError) as caught:
        source.names()
    said = str(caught.value)
    assert "ulcer 'maybe'" in said
    assert "a/1.png has 2 rows" in said
    assert "'../x.png' is no path" in said
    assert "2 cells, not 3" in said


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("image,polyp\na/1.png,1\n", "no column `file`"),
        ("file,patient\na/1.png,ada\n", "no column of a label"),
        ("file,polyp,polyp\na/1.png,1,1\n", "two columns 'polyp'"),
    ],
)
def test_a_table_needs_its_columns(table: str, told: str, tmp_path: Path) -> None:
    source = FolderSource(root=folder_of(tmp_path, table), table="labels.csv")
    with pytest.raises(DatasetError, match=told):
        source.find()


def test_an_image_that_only_the_table_knows_is_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path, TABLE + "d/8.png,dee,1,0,0\n")
    with pytest.raises(DatasetError, match=r"d/8\.png: is in the table"):
        FolderSource(root=root, table="labels.csv").find()


def test_columns_and_labels_must_meet(tmp_path: Path) -> None:
    source = FolderSource(root=folder_of(tmp_path / "data"), table="labels.csv")
    few = LabelMap(classes=LABELS.classes[:1])
    with pytest.raises(LabelError, match="ulcer, erosion"):
        dataset_of(source, tmp_path / "store", few)
    some = source.model_copy(update={"ignored": ("ulcer", "erosion")})
    assert shown(dataset_of(some, tmp_path / "store", few))["2"] == [1]
    other = LabelMap.model_validate({"classes": [{"name": "fold", "colour": "#000000"}]})
    with pytest.raises(LabelError, match="no 'fold'"):
        dataset_of(source, tmp_path / "store", other)


def table_of(polyps: str) -> str:
    """Return a table of seven patients, the first four to learn from; ulcers come by turns."""
    rows = [
        f"{folder}/{n}.png,p{n},{polyp},{n % 2},{'train' if n < 5 else 'val'}"
        for n, (folder, polyp) in enumerate(zip("aabbccc", polyps, strict=True), start=1)
    ]
    return "\n".join(["file,patient,polyp,ulcer,split", *rows])


PLAIN = LabelMap(classes=tuple(i.model_copy(update={"source": ()}) for i in LABELS.classes))


def test_a_threshold_that_few_images_decide_is_told(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", table_of("1001010"))
    source = FolderSource(root=root, table="labels.csv")
    report = check_labels(dataset_of(source, tmp_path / "store", PLAIN, split=CohortSplit()))
    assert any("show polyp, ulcer: the threshold" in text for text in report.warnings)
    assert report.splits["train"].amount == {"polyp": 2, "ulcer": 2}


def test_a_label_that_every_training_image_shows_is_refused(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", table_of("1111010"))
    source = FolderSource(root=root, table="labels.csv")
    data = dataset_of(source, tmp_path / "store", PLAIN, split=CohortSplit())
    with pytest.raises(DatasetError, match="known to be without polyp"):
        check_labels(data)


def masks_of(root: Path) -> Path:
    """Lay out images of 10 x 10 pixels: id 1 on the first rows, id 2 on the last."""
    for name, (ones, twos, odd) in {
        "both": (3, 2, 0),
        "one": (2, 0, 0),
        "none": (0, 0, 0),
        "speck": (0.1, 0, 0),
        "unclear": (0, 2, 1),
    }.items():
        mask = np.zeros((10, 10), np.uint8)
        mask.ravel()[: int(10 * ones)] = 1
        mask[len(mask) - int(twos) :] = 2
        mask[5, : 10 * odd] = 9
        for kind, picture in (("img", np.full((10, 10, 3), int(mask.sum()) % 256)), ("lab", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(root / kind / f"{name}.png")
    return root


@pytest.mark.parametrize(
    ("settings", "speck", "unclear"),
    [
        ({"unknown": "background"}, [0, 0], [0, 1]),
        ({"unknown": "background", "ignored": (9,)}, [0, 0], [IGNORE_ID, 1]),
        ({"unknown": "background", "least_share": 0.005}, [1, 0], [0, 1]),
    ],
)
def test_a_mask_shows_what_covers_enough_of_it(
    settings: dict[str, Any], speck: list[int], unclear: list[int], tmp_path: Path
) -> None:
    rule = MaskRule(find="^img/", replace="lab/")
    root = masks_of(tmp_path / "data")
    said = {"root": root, "images": "img/*.png", "mask": rule, "least_share": 0.1} | settings
    found = shown(dataset_of(FolderSource.model_validate(said), tmp_path / "store", BY_ID))

    assert found["both"] == [1, 1]
    assert found["one"] == [1, 0]
    assert found["none"] == [0, 0]
    assert found["speck"] == speck
    assert found["unclear"] == unclear


def test_what_is_not_looked_at_leaves_absence_open() -> None:
    shares = np.array([[0.2, 0.0], [0.04, 0.0], [0.0, 0.0]])
    unknown = np.array([0.8, 0.02, 0.0])
    found = present(shares, unknown, least_share=0.05)
    assert found.tolist() == [[1, IGNORE_ID], [IGNORE_ID, 0], [0, 0]]


def test_of_a_row_without_lists_nothing_is_known() -> None:
    lists = pa.list_(pa.int64())
    table = pa.table(
        {
            "labels": pa.array([[0], None, []], lists),
            "unknown": pa.array([[], None, [1]], lists),
        }
    )
    assert presence_of(table, LABELS).tolist() == [[1, 0], [IGNORE_ID] * 2, [0, IGNORE_ID]]
    counts = count_targets(table, LABELS, "multi_label")
    assert counts.tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 1]]
    assert is_labelled(counts, "multi_label").tolist() == [True, False, True]


def test_labels_need_a_table_or_masks_and_not_both(tmp_path: Path) -> None:
    rule = MaskRule(find="^img/", replace="lab/")
    assert FolderSource().unfit("multi_label")
    assert FolderSource(table="labels.csv", mask=rule).unfit("multi_label")
    assert not FolderSource(table="labels.csv").unfit("multi_label")
    assert not FolderSource(mask=rule).unfit("multi_label")


def test_patients_are_dealt_out_by_the_rarest_label_they_show() -> None:
    counts = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]])
    plan = Plan.__new__(Plan)
    object.__setattr__(plan, "task", "multi_label")
    words, usable = np.array([""] * 4), np.ones(4, bool)
    strata = plan._strata(words[:, None], counts, usable)
    assert strata.argmax(axis=1).tolist() == [1, 0, 0, 2]  # the last shows none
    assert strata.sum(axis=0) == pytest.approx([1, 1, 1])


def test_what_was_published_is_read_again_by_the_hubs_library_and_by_ours(tmp_path: Path) -> None:
    from datasets import load_dataset

    source = FolderSource(root=folder_of(tmp_path / "data"), table="labels.csv")
    data = dataset_of(source, tmp_path / "store")
    published = export_dataset(
        data,
        listing=Listing(repo="lab/tiny", licence="cc-by-4.0"),
        pseudonyms=Pseudonyms(b"key"),
        store=Store(tmp_path / "store"),
    )
    again = load_dataset(str(published.folder), cache_dir=str(tmp_path / "cache"))
    features = again["train"].features
    assert features["labels"].feature.names == ["polyp", "ulcer"]
    assert features["unknown"].feature.names == ["polyp", "ulcer"]
    assert "multi-label-image-classification" in (published.folder / "README.md").read_text()

    ours = HubSource(id="lab/tiny", root=published.folder, patient="patient")
    found = shown(dataset_of(ours, tmp_path / "again", PLAIN))
    assert sorted(found.values()) == sorted(shown(data).values())


@pytest.mark.real
def test_camvids_frames_show_what_their_masks_do(real_data: Path, tmp_path: Path) -> None:
    labels = LabelMap.model_validate(
        {
            "classes": [
                {"name": "person", "source": ["pedestrian"], "colour": "#d55e00"},
                {"name": "bicycle", "source": ["bicyclist"], "colour": "#009e73"},
            ]
        }
    )
    source = CamVidSource(root=real_data / "camvid", unknown="background", least_share=0.005)
    data = dataset_of(source, tmp_path, labels)
    every = np.array(list(shown(data).values()))
    assert every.shape == (80, 2)
    assert (every == 1).sum(axis=0).tolist() == [34, 25]
    assert (every == 0).all(axis=1).any()
