"""Datasets whose pixels stay in the slides."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_from_disk

from tests.datasets.making import LABELS
from tests.slides.making import tissue_like, write_jpeg_tiff, zero_tile
from wsi_vit.cohort import CohortRow
from wsi_vit.datasets.build import SlideShards, build_from_shards
from wsi_vit.datasets.check import check_labels
from wsi_vit.datasets.reading import DatasetExamples, TrainingSet, open_dataset
from wsi_vit.datasets.slide_pictures import SlidePictures
from wsi_vit.datasets.splits import CohortSplit
from wsi_vit.errors import DatasetError
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Store

SIDE = 64
SPLITS: list[Any] = ["train", "train", "validation", "test"]


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    (tmp_path / "slides").mkdir()
    return [
        write_jpeg_tiff(
            tmp_path / "slides" / f"s{i}.tif", tissue_like(4 * SIDE, 3 * SIDE, seed=i), mpp=2.0
        )
        for i in range(4)
    ]


def shards_of(slides: list[Path], kept: Store, **changes: Any) -> list[SlideShards]:
    plain = {"grid": {"tile_px": SIDE, "mpp": 2.0, "min_tissue": 0.3}, "store": "coordinates"}
    section = TilesSection.model_validate(plain | changes)
    made = list[SlideShards]()
    for index, slide in enumerate(slides):
        name = f"s{index}"
        row = CohortRow(
            slide=slide, slide_id=name, patient=name, label=("Stroma", "Tumour")[index % 2],
            split=SPLITS[index],
        )  # fmt: skip
        tiles = tile_slide(SlideInput(slide, name), section=section, store=kept)
        made.append(SlideShards(row=row, tiles=tiles))
    return made


def built(slides: list[Path], root: Path, **changes: Any) -> TrainingSet:
    store = Store(root)
    made = build_from_shards(
        shards_of(slides, store, **changes),
        labels=LABELS,
        task="classification",
        split=CohortSplit(),
        name="tiny",
        store=store,
    )
    return open_dataset(made.folder)


def same(one: DatasetExamples, other: DatasetExamples) -> bool:
    pairs = zip(
        one.__getitems__(range(len(one))), other.__getitems__(range(len(other))), strict=True
    )
    return all(a.key == b.key and np.array_equal(a.image, b.image) for a, b in pairs)


def test_they_show_the_pixels_of_a_dataset_of_pixels(slides: list[Path], tmp_path: Path) -> None:
    places = built(slides, tmp_path / "store")
    pixels = built(slides, tmp_path / "store", store="pixels")

    assert len(places.examples("train")) == 24
    assert same(places.examples("train"), pixels.examples("train"))
    assert (places.facts["store"], pixels.facts["store"]) == ("coordinates", "pixels")
    assert "stay in the slide" in (places.folder / "dataset_card.md").read_text()
    assert check_labels(places).splits["train"].sizes == ("64x64",)
    table = load_from_disk(str(places.folder))
    assert table.column_names[:3] == ["slide_id", "x", "y"]
    assert "image" not in table.column_names


def test_a_batch_is_read_slide_by_slide_in_the_order_of_the_file_and_told_before(
    slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = built(slides, tmp_path / "store").examples("train")
    alone = [train[index] for index in (23, 1, 5, 12, 0, 5)]
    told: list[tuple[str, str, float]] = []

    def noting(what: str, original: Any) -> Any:
        def call(self: Slide, first: Any, **sizes: Any) -> Any:
            place = first.y * 1000 + first.x if what == "read_rgbx" else len(list(first))
            told.append((what, self.path.name, place))
            return original(self, first, **sizes)

        return call

    for what in ("read_rgbx", "announce"):
        monkeypatch.setattr(Slide, what, noting(what, getattr(Slide, what)))
    found = train.__getitems__([23, 1, 5, 12, 0, 5])

    assert [e.key for e in found] == [e.key for e in alone]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(found, alone, strict=True))
    kinds = [what for what, _, _ in told]
    assert kinds == ["announce"] * 6 + ["read_rgbx"] * 6
    reads = [(name, place) for _, name, place in told[6:]]
    assert reads == sorted(reads)


def test_a_worker_process_gets_the_same_pictures(slides: list[Path], tmp_path: Path) -> None:
    train = built(slides, tmp_path / "store").examples("train")
    assert same(train, pickle.loads(pickle.dumps(train)))


def test_export_has_what_a_dataset_of_pixels_would_hold(slides: list[Path], tmp_path: Path) -> None:
    coarse: dict[str, Any] = {"grid": {"tile_px": SIDE, "mpp": 3.0, "min_tissue": 0.3}}
    places = built(slides, tmp_path / "store", **coarse).examples("train")
    pixels = built(slides, tmp_path / "store", store="pixels", **coarse).examples("train")

    assert [places.encoded(i) for i in range(len(places))] == [
        pixels.encoded(i) for i in range(len(pixels))
    ]


def test_moved_slides_are_missed_all_at_once_and_found_again_by_tiling(
    slides: list[Path], tmp_path: Path
) -> None:
    data = built(slides, tmp_path / "store")
    (tmp_path / "slides").rename(tmp_path / "elsewhere")

    with pytest.raises(DatasetError, match=r"not where they were.*s0.*s3"):
        _ = data.examples("train")[0]
    moved = [tmp_path / "elsewhere" / slide.name for slide in slides]
    again = shards_of(moved, Store(tmp_path / "store"))

    assert all(shard.tiles.reused for shard in again)
    assert data.examples("train")[0].image.shape == (SIDE, SIDE, 3)


def test_a_slide_that_changed_since_is_refused_by_name(slides: list[Path], tmp_path: Path) -> None:
    train = built(slides, tmp_path / "store").examples("train")
    _ = train[0]
    write_jpeg_tiff(slides[0], tissue_like(4 * SIDE, 3 * SIDE, seed=9), mpp=2.0)

    with pytest.raises(DatasetError, match="slide s0 is not the one that was tiled"):
        _ = train[0]
    assert train[12].slide_id == "s1"


def test_a_tile_that_cannot_be_read_is_named_and_nothing_is_invented(
    slides: list[Path], tmp_path: Path
) -> None:
    """Damage at a tile that was not among those that are proved, and that the overview hides."""
    whole = tissue_like(4 * SIDE, 3 * SIDE)
    zero_tile(write_jpeg_tiff(slides[0], whole, mpp=2.0, levels=3), 5)
    train = built(slides, tmp_path / "store").examples("train")

    with pytest.raises(
        DatasetError, match=r"tile s0/64_64 cannot be read.*64 base pixels.*s0\.tif"
    ):
        train.__getitems__([0, 5])


def test_the_same_slide_under_two_names_is_found_out(slides: list[Path], tmp_path: Path) -> None:
    slides[2].write_bytes(slides[0].read_bytes())

    data = built(slides, tmp_path / "store")

    assert len(data.facts["duplicates"]) == 12
    assert any("more than one split" in warning for warning in data.warnings)


def test_no_dataset_holds_pixels_of_some_slides_and_places_of_others(
    slides: list[Path], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    mixed = shards_of(slides[:2], store) + shards_of(slides, store, store="pixels")[2:]

    with pytest.raises(DatasetError, match="some hold pixels and some coordinates only"):
        build_from_shards(
            mixed, labels=LABELS, task="classification", split=CohortSplit(), name="x", store=store
        )


def test_missing_slides_are_told_when_the_pictures_are_opened(
    slides: list[Path], tmp_path: Path
) -> None:
    shards = shards_of(slides, Store(tmp_path / "store"))
    slides[1].unlink()

    with pytest.raises(DatasetError, match=r"are not where they were.*s1"):
        SlidePictures([shard.tiles.folder / "tiles.arrow" for shard in shards])


def test_tiles_of_two_sizes_make_no_batch(slides: list[Path], tmp_path: Path) -> None:
    store, large = Store(tmp_path / "store"), {"tile_px": 2 * SIDE, "mpp": 2.0, "min_tissue": 0.3}
    shards = shards_of(slides[:1], store) + shards_of(slides[1:], store, grid=large)

    with pytest.raises(DatasetError, match=r"different sizes\. Got: 64 px, 128 px"):
        SlidePictures([shard.tiles.folder / "tiles.arrow" for shard in shards])
