"""What is published loads again, is the same every time, and names nobody."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, load_dataset
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ValidationError

from tests.datasets.making import LABELS, cohort_shards
from wsi_vit.datasets.build import build_from_images, build_from_shards
from wsi_vit.datasets.folder import FolderSource, MaskRule
from wsi_vit.datasets.hub import HubSource
from wsi_vit.datasets.masks import ThresholdValues
from wsi_vit.datasets.publish import KEY_FILE, Pseudonyms, export_dataset
from wsi_vit.datasets.publish_card import Listing
from wsi_vit.datasets.reading import TrainingSet, open_dataset
from wsi_vit.datasets.splits import CohortSplit, PatientSplit, SiteSplit
from wsi_vit.datasets.upload import upload_dataset
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.store import Artefact, Store, verify_folder

CANARIES = ("Zebedee", "Wolpertinger", "Quagga", "Thylacine")
"""A patient, a slide, a site and a word in the files' metadata."""
LISTING = Listing(repo="someone/some-tiles", licence="cc-by-4.0")
KEYED = Pseudonyms(b"a key of thirty-two bytes, or so.")


def folder_with_names(root: Path) -> Path:
    """Twelve images of six patients at two sites, a canary wherever a name can be."""
    patient, slide, site, word = CANARIES
    for number in range(12):
        info = PngInfo()
        info.add_text("Patient", word)
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
        name = f"{patient}{number // 2}-{slide}{number}.png"
        place = root / f"{site}{number // 2 % 2}" / ("stroma", "tumour")[number % 2]
        (place / "masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / name, pnginfo=info)
        Image.fromarray(pixels[..., 0]).save(place / "masks" / name, pnginfo=info)
    return root


def named(tmp_path: Path, *, task: str = "classification", split: object = None) -> TrainingSet:
    source = FolderSource(
        root=folder_with_names(tmp_path / "images"),
        images="*/*/*.png",
        label=r"/(\w+)/",
        patient=rf"({CANARIES[0]}\d+)",
        site=r"^(\w+)/",
        mask=MaskRule(find=r"/([^/]+)$", replace=r"/masks/\1", values=ThresholdValues(above=127)),
    )
    artefact = build_from_images(
        source,
        labels=LABELS,
        task=task,  # pyright: ignore
        split=split or PatientSplit(validation=0.25, test=0.25),
        name="tiny",
        store=Store(tmp_path / "store"),
    )
    return open_dataset(artefact.folder)


def tiles(tmp_path: Path) -> TrainingSet:
    store = Store(tmp_path / "store")
    artefact = build_from_shards(
        cohort_shards(store, slides=6),
        labels=LABELS,
        task="classification",
        split=PatientSplit(validation=0.25, test=0.25),
        name="tiny",
        store=store,
    )
    return open_dataset(artefact.folder)


def published(data: TrainingSet, place: Path, key: Pseudonyms = KEYED) -> Artefact:
    return export_dataset(data, listing=LISTING, pseudonyms=key, store=Store(place))


def loaded(folder: Path, cache: Path) -> DatasetDict:
    found = load_dataset(str(folder), cache_dir=str(cache))
    assert isinstance(found, DatasetDict)
    return found


def everything_in(folder: Path) -> bytes:
    """Return all bytes of a folder, those of Parquet both as stored and unpacked."""
    parts = [path.name.encode() for path in folder.rglob("*")]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts.append(path.read_bytes())
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            parts.append(str(table.schema.metadata).encode())
            parts += [repr(row).encode() for row in table.to_pylist()]
    return b"\n".join(parts)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("split", [None, SiteSplit(test=("Quagga1",), validation=0.4)])
def test_no_name_of_a_patient_slide_or_site_leaves(
    tmp_path: Path, task: str, split: object
) -> None:
    data = named(tmp_path, task=task, split=split)
    out = everything_in(published(data, tmp_path / "out").folder)
    at_home = everything_in(tmp_path / "store") + everything_in(tmp_path / "images")

    for canary in CANARIES:
        assert canary.encode() in at_home
        assert canary.encode() not in out
    assert b"name patients, slides or sites and stay at home" in out or split is None


def test_classes_and_pictures_load_again_with_the_hubs_library(tmp_path: Path) -> None:
    data = tiles(tmp_path)
    found = loaded(published(data, tmp_path / "out").folder, tmp_path / "cache")

    assert set(found) == {"train", "validation", "test"}
    for name, part in found.items():
        ours = data.examples(name)  # pyright: ignore
        assert part.features["label"] == ClassLabel(names=list(LABELS.names))
        assert part["label"] == ours.labels.tolist()
        assert part["x"] == ours.x.tolist()
        assert part["mpp"] == [0.5] * len(ours)
        assert np.array_equal(np.asarray(part[0]["image"].convert("RGB")), ours[0].image)


def test_masks_load_again_and_belong_to_their_images(tmp_path: Path) -> None:
    data = named(tmp_path, task="segmentation")
    found = loaded(published(data, tmp_path / "out").folder, tmp_path / "cache")["test"]

    for row, example in zip(found, data.examples("test"), strict=True):
        assert np.array_equal(np.asarray(row["label"]), example.target)
        assert np.array_equal(np.asarray(row["image"].convert("RGB")), example.image)


def test_the_parquet_alone_says_what_its_columns_are(tmp_path: Path) -> None:
    folder = published(named(tmp_path), tmp_path / "out").folder
    files = [str(path) for path in folder.glob("data/train-*.parquet")]

    found = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "c"))

    assert isinstance(found, Dataset)
    assert found.features["label"] == ClassLabel(names=list(LABELS.names))
    assert found[0]["image"].size == (16, 16)


def test_who_belongs_together_still_shows(tmp_path: Path) -> None:
    data = named(tmp_path)
    found = loaded(published(data, tmp_path / "out").folder, tmp_path / "cache")

    for name, part in found.items():
        ours = data.examples(name)  # pyright: ignore
        pairs = set(zip(part["patient"], ours.patients, strict=True))
        assert len(pairs) == len(set(part["patient"])) == len(set(ours.patients))
    hashes = [set(part["patient"]) for part in found.values()]
    assert not (hashes[0] & hashes[1] or hashes[0] & hashes[2] or hashes[1] & hashes[2])
    assert len(set(found["train"]["site"])) <= 2


def test_the_same_dataset_and_key_give_the_same_bytes_and_another_key_other_hashes(
    tmp_path: Path,
) -> None:
    data = named(tmp_path)
    one, two = (published(data, tmp_path / place) for place in ("one", "two"))
    other = published(data, tmp_path / "three", Pseudonyms(b"another key of thirty-two bytes."))

    assert one.digest == two.digest
    assert everything_in(one.folder) == everything_in(two.folder)
    assert other.folder.name != one.folder.name
    ours, theirs = (
        set(pq.read_table(next(item.folder.glob("data/train-*")))["patient"].to_pylist())
        for item in (one, other)
    )
    assert not ours & theirs
    assert verify_folder(tmp_path / "one")[1] == []


def test_rows_without_a_split_stay_at_home(tmp_path: Path) -> None:
    data = tiles(tmp_path)
    artefact = published(data, tmp_path / "out")

    assert data.facts["unlabelled"] == 6
    assert sum(artefact.facts["rows"].values()) == data.facts["examples"] - 6


def test_the_head_is_the_hubs(tmp_path: Path) -> None:
    folder = published(named(tmp_path, task="segmentation"), tmp_path / "out").folder
    text = (folder / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])

    assert head["license"] == "cc-by-4.0"
    assert head["task_categories"] == ["image-segmentation"]
    assert head["size_categories"] == ["n<1K"]
    assert [part["split"] for part in head["configs"][0]["data_files"]] == [
        "train",
        "validation",
        "test",
    ]
    assert head["dataset_info"]["features"][:2] == [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": "image"},
    ]
    rows = sum(split["num_examples"] for split in head["dataset_info"]["splits"])
    assert rows == 12
    assert 'load_dataset("someone/some-tiles")' in text
    assert json.loads((folder / "id2label.json").read_text()) == {"0": "stroma", "1": "tumour"}


def test_a_large_split_is_cut_into_files_that_say_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsi_vit.datasets.publish._SHARD_BYTES", 1)
    monkeypatch.setattr("wsi_vit.datasets.publish._ROWS_A_GROUP", 5)
    folder = published(tiles(tmp_path), tmp_path / "out").folder

    names = sorted(path.name for path in folder.glob("data/train-*"))

    assert names[0] == f"train-00000-of-{len(names):05}.parquet"
    assert len(names) > 1
    rows = [pq.read_table(path).num_rows for path in folder.glob("data/train-*")]
    assert max(rows) == 5
    assert loaded(folder, tmp_path / "cache")["train"].num_rows == sum(rows)


def test_the_key_is_drawn_once_kept_and_read_by_nobody_else(tmp_path: Path) -> None:
    first, again = Pseudonyms.kept_in(tmp_path / "runs"), Pseudonyms.kept_in(tmp_path / "runs")

    assert first.of("patient", ["a", ""]) == again.of("patient", ["a", ""])
    assert first.of("patient", [""]) == [""]
    assert first.of("patient", ["a"]) != first.of("slide", ["a"])
    assert (tmp_path / "runs" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert Pseudonyms.kept_in(tmp_path / "other").fingerprint != first.fingerprint


@pytest.mark.parametrize("licence", ["cc-by", "Apache 2", ""])
def test_a_licence_that_the_hub_does_not_know_is_refused_with_near_ones(licence: str) -> None:
    with pytest.raises(ValidationError, match="none of the hub's licences"):
        Listing(repo="a/b", licence=licence)


@pytest.mark.parametrize("repo", ["no-owner", "a/b/c", "../x", "a /b"])
def test_a_name_that_the_hub_cannot_have_is_refused(repo: str) -> None:
    with pytest.raises(ValidationError):
        Listing(repo=repo, licence="mit")


def test_offline_nothing_is_sent_and_the_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    done = upload_dataset(tmp_path / "my folder", "someone/some-tiles")

    assert done.url is None
    assert done.command == (
        f"hf upload someone/some-tiles '{tmp_path}/my folder' . --repo-type dataset --private"
    )
    assert "Dry run (HF_HUB_OFFLINE is set)" in done.sentence


def test_a_hub_that_does_not_answer_makes_a_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

    assert "does not answer" in upload_dataset(tmp_path, "someone/some-tiles").reason


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_our_own_hub_source_reads_what_was_published(tmp_path: Path, task: str) -> None:
    data = named(tmp_path, task=task)
    folder = published(data, tmp_path / "out").folder
    source = HubSource(id=LISTING.repo, root=folder, patient="patient", site="site")

    again = open_dataset(
        build_from_images(
            source,
            labels=LabelMap(
                classes=tuple(LabelClass(name=c.name, colour=c.colour) for c in LABELS.classes)
            ),
            task=task,  # pyright: ignore
            split=CohortSplit(),
            name="again",
            store=Store(tmp_path / "again"),
        ).folder
    )

    for name in ("train", "validation", "test"):
        ours, theirs = again.examples(name), data.examples(name)
        assert ours.counts.tolist() == theirs.counts.tolist()
        assert np.array_equal(ours[0].image, theirs[0].image)
