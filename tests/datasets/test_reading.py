import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.making import LABELS, cohort_shards, jpeg
from wsi_vit.cohort import CohortRow
from wsi_vit.datasets import decoding
from wsi_vit.datasets.build import SlideShards, build_from_shards
from wsi_vit.datasets.check import check_labels
from wsi_vit.datasets.decoding import decode_image, decode_images, decode_mask, jpeg_decoder
from wsi_vit.datasets.image_shards import png_of
from wsi_vit.datasets.layout import shard_paths
from wsi_vit.datasets.reading import DatasetExamples, open_dataset
from wsi_vit.datasets.sources import CohortSource
from wsi_vit.datasets.splits import PatientSplit, RegionSplit
from wsi_vit.errors import DatasetError
from wsi_vit.labels import LabelMap
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tile_labels import label_tiles
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Store


@pytest.fixture
def examples(tmp_path: Path) -> DatasetExamples:
    store = Store(tmp_path)
    artefact = build_from_shards(
        cohort_shards(store, slides=5, task="segmentation"),
        labels=LABELS,
        task="segmentation",
        split=PatientSplit(),
        name="tiny",
        store=store,
    )
    return open_dataset(artefact.folder).examples("train")


def test_a_batch_comes_in_the_order_asked_for(examples: DatasetExamples) -> None:
    keys = [e.key for e in examples.__getitems__([5, 0, 5])]
    assert keys == [examples.keys[5], examples.keys[0], examples.keys[5]]


def test_a_worker_process_gets_the_same_pictures(examples: DatasetExamples) -> None:
    _ = examples[0]
    sent = pickle.dumps(examples)
    assert len(sent) < 5_000
    again = pickle.loads(sent)
    assert all(
        np.array_equal(one.image, other.image) and np.array_equal(one.target, other.target)
        for one, other in zip(
            examples.__getitems__(range(8)), again.__getitems__(range(8)), strict=True
        )
    )


def test_some_of_a_split_can_be_chosen(examples: DatasetExamples) -> None:
    chosen = examples.select([4, 2])
    assert len(chosen) == 2
    assert chosen.keys == (examples.keys[4], examples.keys[2])
    assert chosen.select([1])[0].key == examples.keys[2]


def test_names_are_known_without_decoding(
    examples: DatasetExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("wsi_vit.datasets.pictures.decode_images", fail)
    monkeypatch.setattr("wsi_vit.datasets.reading.decode_mask", fail)
    assert len(examples.keys) == len(examples.patients) == len(examples.sites) == len(examples)
    assert set(examples.labels) == {0, 1}


def test_pillow_decodes_where_simplejpeg_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(3, px=32)
    fast = decode_image(data, name="a")
    assert jpeg_decoder() == "simplejpeg"
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    decoding.has_simplejpeg.cache_clear()
    try:
        assert jpeg_decoder() == "pillow"
        slow = decode_image(data, name="a")
    finally:
        decoding.has_simplejpeg.cache_clear()
    assert np.abs(fast.astype(int) - slow).max() <= 2


def test_damaged_pictures_are_named(examples: DatasetExamples) -> None:
    for data in (b"\xff\xd8\xff\xe0 cut", b"\x89PNG nothing", b""):
        with pytest.raises(DatasetError, match="image of s1/0_0 cannot be decoded"):
            decode_image(data, name="s1/0_0")
    with pytest.raises(DatasetError, match="mask of s1/0_0 cannot be decoded"):
        decode_mask(b"nothing", name="s1/0_0")
    assert len(examples) > 0


def test_a_damaged_picture_in_a_shard_is_an_error_that_names_it(examples: DatasetExamples) -> None:
    """A decoder that only warns would show the rest of the tile in grey."""
    shard = next(path for path in shard_paths(examples.folder) if "tiles" in path.parts)
    stored = examples.encoded(1)
    at = shard.resolve().read_bytes().index(stored) + len(stored) // 2
    with shard.resolve().open("r+b") as stream:
        stream.seek(at)
        stream.write(b"\xff\xd9")

    with pytest.raises(DatasetError, match=f"image of {examples.keys[1]} cannot be decoded"):
        examples.__getitems__([0, 1])
    assert examples[0].image.shape == (16, 16, 3)


def test_a_batch_of_one_size_lies_in_one_piece_and_any_other_batch_does_not_mind() -> None:
    streams, names = [jpeg(seed, px=16) for seed in range(3)], ["a", "b", "c"]
    alone = [decode_image(data, name="x") for data in streams]
    odd = [*streams, jpeg(9, px=24), png_of(np.zeros((16, 16), np.uint8))]

    together, mixed = decode_images(streams, names), decode_images(odd, [*names, "d", "e"])

    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(alone, mixed[:3], strict=True))
    assert np.array_equal(mixed[3], decode_image(odd[3], name="d"))
    assert [image.shape for image in mixed[3:]] == [(24, 24, 3), (16, 16, 3)]
    assert together[2].ctypes.data - together[0].ctypes.data == 2 * 16 * 16 * 3
    assert decode_images([], []) == []


def test_a_scanners_padding_is_no_damage() -> None:
    """Tiles that are kept as the scanner wrote them may end in a few zeros."""
    data = jpeg(3, px=32)
    padded = data[:-2] + bytes(3) + data[-2:]

    assert np.array_equal(decode_image(padded, name="a"), decode_image(data, name="a"))
    assert np.array_equal(decode_image(memoryview(padded), name="a"), decode_image(data, name="a"))
    with pytest.raises(DatasetError, match="image of a cannot be decoded"):
        decode_image(data[:-2] + bytes(range(1, 9)) + data[-2:], name="a")


@pytest.mark.real
def test_the_real_colon_slide_becomes_a_dataset_split_by_regions(
    real_data: Path, tmp_path: Path
) -> None:
    """Its tissue annotation stands in for classes: tissue against glass."""
    source = CohortSource.model_validate(
        {"tiles": {"grid": {"tile_px": 64, "mpp": 4.0, "min_tissue": 0.1}}}
    )
    labels = LabelMap.model_validate(
        {
            "classes": [
                {"name": "glass", "source": [0], "colour": "#ffffff"},
                {"name": "tissue", "source": [1], "colour": "#d55e00"},
            ],
            "background": "glass",
        }
    )
    (slide,) = [p for p in (real_data / "wsi-colon").glob("*.tif") if "mask" not in p.name]
    (mask,) = (real_data / "wsi-colon").glob("*mask*.tif")
    store = Store(tmp_path)
    tiles = tile_slide(SlideInput(slide, "colon", 1.0), section=source.tiles, store=store)
    targets = label_tiles(
        tiles, mask, labels=labels, task="segmentation", section=source.labelling, store=store
    )
    row = CohortRow(slide=slide, slide_id="colon", patient="P2")
    artefact = build_from_shards(
        [SlideShards(row=row, tiles=tiles, tile_labels=targets)],
        labels=labels,
        task="segmentation",
        split=RegionSplit(),
        name="colon",
        store=store,
    )
    dataset = open_dataset(artefact.folder)
    report = check_labels(dataset)
    assert dataset.estimate == "regions of one patient"
    assert sum(part.examples for part in report.splits.values()) > 0.7 * tiles.facts["tiles"]
    assert all(part.amount["tissue"] > 0 for part in report.splits.values())
    assert report.splits["test"].sizes == ("64x64",)
    # A tile that is mostly tissue looks darker than glass: pixels and masks belong together.
    example = dataset.examples("test")[int(dataset.examples("test").counts[:, 0].argmax())]
    grey = example.image.mean(axis=-1)
    assert grey[example.target == 1].mean() + 10 < grey[example.target == 0].mean()
