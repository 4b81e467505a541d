"""What a dataset does when its bytes are not what they were."""

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.datasets.making import LABELS, cohort_shards, jpeg
from wsi_vit.datasets.build import build_from_shards
from wsi_vit.datasets.decoding import decode_image, decode_mask
from wsi_vit.datasets.image_shards import png_of
from wsi_vit.datasets.reading import open_dataset
from wsi_vit.datasets.shards import open_stream
from wsi_vit.datasets.splits import PatientSplit
from wsi_vit.errors import DatasetError, StoreError
from wsi_vit.store import Artefact, Store, verify_folder

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def artefact(store: Store) -> Artefact:
    return build_from_shards(
        cohort_shards(store, slides=4, task="segmentation"),
        labels=LABELS,
        task="segmentation",
        split=PatientSplit(validation=0.25, test=0.25),
        name="tiny",
        store=store,
    )


def edit_state(folder: Path, how: Any) -> None:
    path = folder / "state.json"
    state = json.loads(path.read_text())
    how(state["_data_files"])
    path.write_text(json.dumps(state))


@pytest.mark.parametrize("below", ["", "labels", "sidecar"])
def test_shards_named_in_another_order_are_refused(artefact: Artefact, below: str) -> None:
    """Labels of one slide on the pixels of another: all digests of shards would still fit."""
    edit_state(artefact.folder / below, list.reverse)
    with pytest.raises(DatasetError, match=r"state\.json is missing or was changed"):
        open_dataset(artefact.folder)


@pytest.mark.parametrize(
    "name",
    [
        "state.json",
        "labels/state.json",
        "sidecar/state.json",
        "sidecar/sidecar.arrow",
        "splits.json",
        "labels.json",
    ],
)
def test_a_lost_file_is_named(artefact: Artefact, name: str) -> None:
    (artefact.folder / name).unlink()
    with pytest.raises(DatasetError, match=rf"{name} is missing or was changed"):
        open_dataset(artefact.folder)


def test_a_dataset_without_a_manifest_was_never_finished(artefact: Artefact) -> None:
    (artefact.folder / "manifest.json").unlink()
    with pytest.raises(StoreError, match="never finished"):
        open_dataset(artefact.folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"{}"])
def test_a_manifest_that_is_none_is_refused_in_words(artefact: Artefact, content: bytes) -> None:
    (artefact.folder / "manifest.json").write_bytes(content)
    with pytest.raises(StoreError, match="Damaged manifest"):
        open_dataset(artefact.folder)


def test_a_dataset_moved_without_its_shards_says_what_to_do(
    artefact: Artefact, tmp_path: Path
) -> None:
    alone = tmp_path / "elsewhere/dataset" / artefact.folder.name
    shutil.copytree(artefact.folder, alone)
    with pytest.raises(DatasetError, match=r"is gone.*Move the store as a whole"):
        open_dataset(alone)


def test_a_copy_of_the_whole_store_reads_the_same_pictures(
    artefact: Artefact, store: Store, tmp_path: Path
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(store.root, copied)
    before = open_dataset(artefact.folder).examples("train")
    shutil.rmtree(store.root / "tiles")  # what is read below is the copy
    after = open_dataset(copied / "dataset" / artefact.folder.name).examples("train")
    assert after.keys == before.keys
    assert after[0].image.shape == (16, 16, 3)
    assert [after.encoded(i)[:2] for i in range(len(after))] == [b"\xff\xd8"] * len(after)


def test_a_flipped_bit_in_a_shard_is_found_by_verify(artefact: Artefact, store: Store) -> None:
    shard = sorted((store.root / "tiles").glob("*/tiles.arrow"))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    _, faults = verify_folder(store.root)
    assert [(fault.path, fault.problem) for fault in faults] == [
        (shard, "other bytes than were committed")
    ]
    assert artefact.folder.exists()


@pytest.mark.parametrize("content", [b"", b"nothing of Arrow at all", b"\xff\xff\xff\xff\x00"])
def test_a_shard_that_is_no_stream_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tiles.arrow").write_bytes(content)
    with pytest.raises(DatasetError, match=r"A shard cannot be read.*tiles\.arrow"):
        open_stream(tmp_path / "tiles.arrow")


def as_jpeg(mode: str, colour: Any) -> bytes:
    stream = BytesIO()
    Image.new(mode, (16, 8), colour).save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (as_jpeg("L", 77), (77, 77, 77)),
        (as_jpeg("RGB", (200, 100, 150)), (200, 100, 150)),
        (as_jpeg("CMYK", (0, 0, 0, 0)), (255, 255, 255)),
    ],
)
def test_jpegs_of_every_colour_space_become_rgb(
    data: bytes, expected: tuple[int, int, int]
) -> None:
    image = decode_image(data, name="a")
    assert image.shape == (8, 16, 3)
    assert np.abs(image.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("mode", ["I;16", "RGB", "RGBA", "1"])
def test_a_stored_mask_of_more_or_less_than_a_byte_is_refused(mode: str) -> None:
    """300 in 16 bits was read as 44."""
    stream = BytesIO()
    Image.new(mode, (4, 4)).save(stream, "PNG")
    with pytest.raises(DatasetError, match="mask of a cannot be decoded"):
        decode_mask(stream.getvalue(), name="a")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damaged metadata
@FUZZ
@given(kind=st.sampled_from(["jpeg", "png", "mask"]), cut=st.integers(0, 400), data=st.data())
def test_damaged_bytes_give_a_picture_or_an_error_of_ours(
    kind: str, cut: int, data: st.DataObject
) -> None:
    content = bytearray(jpeg(1) if kind == "jpeg" else png_of(np.eye(16, dtype=np.uint8)))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] ^= data.draw(st.integers(1, 255))
    shorter = bytes(content[: max(0, len(content) - cut)]) if cut < 200 else bytes(content)
    try:
        if kind == "mask":
            assert decode_mask(shorter, name="a").ndim == 2
        else:
            assert decode_image(shorter, name="a").shape[2] == 3
    except DatasetError as error:
        assert "cannot be decoded" in str(error)
