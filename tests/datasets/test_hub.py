"""Sets of the hub from a local copy: parquet as `push_to_hub` and the hub's conversion write it."""

import json
import os
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from tests.datasets.test_scenes import built, label_map
from wsi_vit.datasets.build import build_from_images
from wsi_vit.datasets.hub import HubSource
from wsi_vit.datasets.hub_stream import keep_rows
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.datasets.splits import CohortSplit, PatientSplit
from wsi_vit.errors import DatasetError, LabelError
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.store import Store
from wsi_vit.store.hub import NotOnThisMachine

COMMIT = "c" * 40
CLASSES = LabelMap.model_validate(
    {
        "classes": [
            {"name": "Tumour", "colour": "#d55e00"},
            {"name": "Stroma", "colour": "#0072b2"},
        ]
    }
)
NAMES = {"0": "unlabeled", "8": "human-person", "10": "vehicle-car", "26": "object-trafficsign"}


def png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Pillow.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def street(number: int) -> tuple[bytes, bytes]:
    """An image of noise, and a mask: persons left, cars right, one row unlabeled."""
    noise = np.random.default_rng(number).integers(0, 255, (8, 12, 3), np.uint8)
    ids = np.full((8, 12), 8, np.uint8)
    ids[:, 6:], ids[0] = 10, 0
    return png(noise), png(ids)


def features(**columns: Any) -> Any:
    from datasets import Features

    return Features(columns)


def put_table(path: Path, columns: dict[str, list[Any]], kinds: Any, *, group: int = 3) -> None:
    """Write a parquet file with the hub's own metadata, as `push_to_hub` does."""
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pydict(columns, schema=kinds.arrow_schema)
    pq.write_table(table, path, row_group_size=group)


def put_streets(path: Path, numbers: range) -> None:
    """Columns as in segments/sidewalk-semantic: pixel_values and label, both pictures."""
    from datasets import Image

    pairs = [street(number) for number in numbers]
    columns = {
        "pixel_values": [{"bytes": image, "path": None} for image, _ in pairs],
        "label": [{"bytes": mask, "path": None} for _, mask in pairs],
    }
    put_table(path, columns, features(pixel_values=Image(), label=Image()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def sidewalk(tmp_path: Path) -> Path:
    """A copy of seven training and two validation rows, the training rows in two files."""
    root = tmp_path / "sidewalk"
    put_streets(root / "data/train-00000-of-00002.parquet", range(4))
    put_streets(root / "data/train-00001-of-00002.parquet", range(4, 7))
    put_streets(root / "data/validation-00000-of-00001-a1b2c3.parquet", range(7, 9))
    (root / "id2label.json").write_text(json.dumps(NAMES))
    return root


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_into_cache(cache: Path, folder: Path) -> None:
    home = cache / "datasets--lab--streets"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text(COMMIT)
    (home / "snapshots").mkdir()
    (home / "snapshots" / COMMIT).symlink_to(folder)


def streets(root: Path | None, **changes: Any) -> HubSource:
    return HubSource(id="lab/streets", root=root, **changes)


def test_rows_are_read_by_the_names_of_the_repository_with_its_splits(
    sidewalk: Path, store: Store
) -> None:
    labels = label_map("Human_Person", "vehicle car")
    dataset = built(streets(sidewalk, unknown="background"), labels, store, CohortSplit())
    assert dataset.examples("train").keys == tuple(f"train-{n:06}" for n in range(7))
    assert dataset.examples("validation").keys == ("validation-000000", "validation-000001")
    assert dataset.examples("train").encoded(5) == street(5)[0]
    target = dataset.examples("train")[5].target
    assert (target[0, 0], target[1, 0], target[1, 11]) == (0, 1, 2)
    assert dataset.facts["source"]["elsewhere"] == {"0": {"name": "unlabeled", "pixels": 9 * 12}}
    assert set(dataset.examples("train").sites) == {"train"}


def test_a_missing_name_lists_the_near_ones_of_the_repository(sidewalk: Path, store: Store) -> None:
    with pytest.raises(LabelError, match=r"'vehicle-cart', but vehicle car"):
        built(streets(sidewalk), label_map("vehicle-cart"), store)


def test_the_cache_of_the_hub_comes_before_the_network(hub_cache: Path, sidewalk: Path) -> None:
    put_into_cache(hub_cache, sidewalk)
    assert len(streets(None).find()) == 9


def test_a_cache_that_lacks_a_file_does_not_pass_for_the_set(
    hub_cache: Path, sidewalk: Path
) -> None:
    (sidewalk / "data/train-00001-of-00002.parquet").unlink()
    put_into_cache(hub_cache, sidewalk)
    with pytest.raises(DatasetError, match=r"hf download lab/streets --repo-type dataset"):
        streets(None).find()
    with pytest.raises(DatasetError, match=r"train: 1 of 2 files"):
        streets(sidewalk).find()


@pytest.mark.usefixtures("hub_cache")
def test_offline_a_missing_set_is_told_at_once_with_how_to_bring_it() -> None:
    begun = time.monotonic()
    with pytest.raises(DatasetError, match=r"HF_HUB_OFFLINE.*--repo-type dataset --revision v2"):
        streets(None, revision="v2").find()
    assert time.monotonic() - begun < 3


def test_splits_can_be_renamed_and_left_out(sidewalk: Path, store: Store) -> None:
    source = streets(sidewalk, unknown="background", splits={"train": "train"})
    dataset = built(source, label_map("vehicle-car"), store)
    dropped = dataset.facts["source"]["dropped"]
    assert (dataset.facts["examples"], dropped["split 'validation'"]["images"]) == (7, 2)
    put_streets(sidewalk / "data/holdout-00000-of-00001.parquet", range(9, 10))
    with pytest.raises(DatasetError, match="'holdout' is no split; say so in `splits`"):
        streets(sidewalk).find()


def test_the_hubs_own_conversion_is_read_and_configurations_are_told_apart(tmp_path: Path) -> None:
    put_streets(tmp_path / "default/train/0000.parquet", range(2))
    put_streets(tmp_path / "default/test/0000.parquet", range(2, 3))
    assert [image.given for image in streets(tmp_path).find()] == ["test", "train", "train"]
    put_streets(tmp_path / "night/train/0000.parquet", range(2))
    with pytest.raises(DatasetError, match="Which configuration is meant"):
        streets(tmp_path).find()
    assert len(streets(tmp_path, config="night").find()) == 2


def put_classes(path: Path) -> None:
    from datasets import ClassLabel, Image, Value

    columns = {
        "image": [{"bytes": street(n)[0], "path": None} for n in range(6)],
        "tissue": [n % 2 for n in range(6)],
        "case": [n // 2 for n in range(6)],
    }
    kinds = features(
        image=Image(), tissue=ClassLabel(names=["Stroma", "Tumour"]), case=Value("int64")
    )
    put_table(path, columns, kinds)


def test_classes_of_whole_images_come_from_the_class_column(tmp_path: Path, store: Store) -> None:
    put_classes(tmp_path / "train.parquet")
    source = streets(tmp_path, patient="case")
    assert source.names() == {"Stroma": 0, "Tumour": 1}
    split = PatientSplit(validation=0.3, test=0.3)
    how: dict[str, Any] = {"split": split, "name": "tissue", "store": store}
    artefact = build_from_images(source, labels=CLASSES, task="classification", **how)
    dataset = open_dataset(artefact.folder)
    assert (dataset.facts["patients"], dataset.facts["patients_known"]) == (3, True)
    assert set(dataset.examples("train").labels.tolist()) == {0, 1}
    near = CLASSES.classes[0].model_copy(update={"name": "Tumor"})
    lacking = CLASSES.model_copy(update={"classes": (near,)})
    with pytest.raises(LabelError, match="'Tumor', but tumour"):
        build_from_images(source, labels=lacking, task="classification", **how)


def test_columns_that_cannot_be_told_apart_are_asked_for(tmp_path: Path) -> None:
    from datasets import Image

    pair = [{"bytes": street(0)[0], "path": None}]
    kinds = features(left=Image(), right=Image())
    put_table(tmp_path / "train.parquet", {"left": pair, "right": pair}, kinds)
    with pytest.raises(DatasetError, match=r"images cannot be told.*left \(Image\)"):
        streets(tmp_path).find()
    assert streets(tmp_path, image="right").find()[0].mask is not None
    with pytest.raises(DatasetError, match="no column middle"):
        streets(tmp_path, image="middle").find()


def test_rows_without_bytes_and_damaged_pictures_are_all_told(tmp_path: Path, store: Store) -> None:
    from datasets import Image

    image, mask = street(0)
    columns = {
        "image": [{"bytes": None, "path": "a.jpg"}, {"bytes": image[:90], "path": None}] * 2,
        "mask": [{"bytes": mask, "path": None}] * 3 + [None],
    }
    put_table(tmp_path / "train.parquet", columns, features(image=Image(), mask=Image()))
    person, nothing = (
        LabelClass(name=n, source=(i,), colour="#000000")
        for n, i in (("person", 8), ("background", 0))
    )
    labels = LabelMap(classes=(nothing, person), background="background")
    with pytest.raises(DatasetError) as caught:
        built(streets(tmp_path, unknown="background"), labels, store)
    for expected in (
        "5 problems",
        "train.parquet, row 0: holds no bytes in column 'image'",
        "train.parquet, row 1: cannot be decoded",
        "train.parquet, row 3: its mask holds no bytes in column 'mask'",
    ):
        assert expected in str(caught.value)
    assert list(store.artefacts()) == []


def test_a_pointer_in_the_place_of_a_table_and_a_script_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scene_parse_150.py").write_text("raise SystemExit('this script ran')")
    with pytest.raises(DatasetError, match=r"scripts are not run.*refs/convert/parquet"):
        streets(tmp_path).find()
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DatasetError, match=r"cannot be read.*git LFS"):
        streets(tmp_path).find()


def test_a_table_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    put_streets(path, range(2))
    first = [image.image_bytes() for image in streets(tmp_path).find()]
    put_streets(path, range(2, 4))
    os.utime(path, ns=(0, 1))
    second = [image.image_bytes() for image in streets(tmp_path).find()]
    assert first == [street(n)[0] for n in (0, 1)]
    assert second == [street(n)[0] for n in (2, 3)]


def test_what_the_hubs_library_writes_itself_is_read(tmp_path: Path) -> None:
    """`Dataset.to_parquet` is what `push_to_hub` uploads."""
    from datasets import Dataset, Image

    pairs = [street(number) for number in range(3)]
    columns = {
        "image": [{"bytes": image, "path": None} for image, _ in pairs],
        "annotation": [{"bytes": mask, "path": None} for _, mask in pairs],
    }
    dataset = Dataset.from_dict(columns, features=features(image=Image(), annotation=Image()))
    dataset.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    images = streets(tmp_path).find()
    assert [image.image_bytes() for image in images] == [image for image, _ in pairs]
    assert np.array_equal(images[2].source_ids(), np.asarray(Pillow.open(BytesIO(pairs[2][1]))))


def test_what_we_publish_ourselves_is_read_back_to_the_same_masks(
    sidewalk: Path, store: Store
) -> None:
    from wsi_vit.datasets.publish import Listing, Pseudonyms, export_dataset

    labels = label_map("human-person", "vehicle-car")
    ours = built(streets(sidewalk, unknown="background"), labels, store, CohortSplit())
    published = export_dataset(
        ours,
        listing=Listing(repo="lab/streets", licence="cc0-1.0"),
        pseudonyms=Pseudonyms(b"k" * 32),
        store=store,
    )
    again = built(streets(published.folder), labels, store, CohortSplit())
    assert again.facts["source"]["gathered"]["vehicle-car"] == [2]
    for before, after in zip(ours.examples("train"), again.examples("train"), strict=True):
        assert np.array_equal(before.image, after.image)
        assert np.array_equal(before.target, after.target)


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """A set that is no parquet file: pictures in folders of classes."""
    root = tmp_path / "pictures"
    for number in range(4):
        folder = root / "train" / ("Stroma", "Tumour")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(street(number)[0])
    (root / "id2label.json").write_text('{"0": "Stroma", "1": "Tumour"}')
    return root


def test_a_set_without_parquet_is_drawn_once_and_read_as_a_copy(
    picture_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "home/wsi-vit/lab--streets--main"
    keep_rows(str(picture_folder), copy, lists=picture_folder)
    images = streets(copy).find()
    assert sorted(image.image_bytes() for image in images) == sorted(
        street(number)[0] for number in range(4)
    )
    assert sorted(image.word for image in images) == ["Stroma", "Stroma", "Tumour", "Tumour"]
    assert streets(copy).names() == {"Stroma": 0, "Tumour": 1}
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_drawn_copy_is_found_offline_and_its_lack_is_told(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    with pytest.raises(DatasetError, match="HF_HUB_OFFLINE is set"):
        streets(None, access="stream").find()
    keep_rows(str(picture_folder), tmp_path / "home/wsi-vit/lab--streets--main")
    assert len(streets(None, access="stream").find()) == 4


def test_a_set_that_cannot_be_drawn_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotOnThisMachine, match="cannot be drawn"):
        keep_rows(str(tmp_path / "empty"), tmp_path / "home/copy")
    assert list((tmp_path / "home").iterdir()) == []
