"""Shards of coordinates: the tiles of a shard of pixels, without the pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.slides.making import stained, tissue_like, write_jpeg_tiff, write_tiff, zero_tile
from wsi_vit.geometry import Region
from wsi_vit.slides.jpeg.encoding import encode_jpeg
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Artefact, Store

SIDE = 64


def section(store: str, mpp: float = 2.0, **changes: Any) -> TilesSection:
    grid = {"tile_px": SIDE, "mpp": mpp, "min_tissue": 0.3}
    return TilesSection.model_validate({"grid": grid, "store": store, "max_invalid": 0.5} | changes)


def cut(slide: Path, root: Path, chosen: TilesSection) -> Artefact:
    return tile_slide(SlideInput(slide, "a"), section=chosen, store=Store(root))


def rows_of(tiles: Artefact) -> list[dict[str, Any]]:
    with pa.memory_map(str(tiles.folder / "tiles.arrow")) as source:
        return pa.ipc.open_stream(source).read_all().to_pylist()


@pytest.mark.parametrize("mpp", [2.0, 4.0, 3.1])
def test_they_list_the_tiles_of_a_shard_of_pixels_and_nothing_else_is_kept(
    tmp_path: Path, mpp: float
) -> None:
    slide = write_jpeg_tiff(tmp_path / "a.tif", tissue_like(9 * SIDE, 6 * SIDE), mpp=2.0)

    pixels = cut(slide, tmp_path / "store", section("pixels", mpp))
    places = cut(slide, tmp_path / "store", section("coordinates", mpp))

    whole, bare = rows_of(pixels), rows_of(places)
    shared = ("slide_id", "x", "y", "mpp", "tissue", "blur", "pen", "dark", "glass")
    assert [[row[k] for k in shared] for row in bare] == [[r[k] for k in shared] for r in whole]
    assert set(bare[0]) == {*shared, "quality", "side", "tile_px", "level"}
    assert (bare[0]["side"], bare[0]["tile_px"], bare[0]["level"]) == (
        places.facts["grid"]["side"], SIDE, places.facts["path"]["level"],
    )  # fmt: skip
    assert (places.facts["store"], places.facts["encoded"], places.facts["copied"]) == (
        "coordinates", 0, 0,
    )  # fmt: skip
    stream = (places.folder / "tiles.arrow").read_bytes()
    again = cut(slide, tmp_path / "again", section("coordinates", mpp))
    assert len(stream) < 20_000
    assert stream == (again.folder / "tiles.arrow").read_bytes()


@pytest.mark.parametrize("mpp", [4.0, 3.1])
def test_what_is_read_at_a_place_is_what_was_encoded_for_a_shard_of_pixels(
    tmp_path: Path, mpp: float
) -> None:
    slide = write_jpeg_tiff(tmp_path / "a.tif", tissue_like(9 * SIDE, 6 * SIDE), mpp=2.0)
    pixels = rows_of(cut(slide, tmp_path / "store", section("pixels", mpp)))
    places = rows_of(cut(slide, tmp_path / "store", section("coordinates", mpp)))

    with open_slide(slide) as opened:
        for row, place in zip(pixels, places, strict=True):
            region = Region(place["x"], place["y"], place["side"], place["side"])
            found = opened.read_rgbx(region, width_px=SIDE, height_px=SIDE)
            assert encode_jpeg(found, 90) == row["image"]["bytes"]


def test_few_tiles_are_read_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = write_jpeg_tiff(tmp_path / "a.tif", tissue_like(20 * SIDE, 8 * SIDE), mpp=2.0)
    looked: list[int] = []

    def noting(self: Any, number: int, tally: Any) -> Any:
        looked.append(number)
        return original(self, number, tally)

    from wsi_vit.slides.cutting import Cutter

    original = Cutter.look
    monkeypatch.setattr(Cutter, "look", noting)

    places = cut(slide, tmp_path / "store", section("coordinates"))

    assert len(looked) == -(-places.facts["tiles"] // 16)
    assert {row["quality"] for row in rows_of(places)} == {None}


def test_a_tile_that_cannot_be_read_is_not_listed(tmp_path: Path) -> None:
    """The first tile is always proved; when it fails, so are all the others."""
    pixels = tissue_like(8 * SIDE, 4 * SIDE)
    slide = write_jpeg_tiff(tmp_path / "a.tif", pixels, mpp=2.0)
    for index in (0, 9):
        zero_tile(slide, index)

    places = cut(slide, tmp_path / "store", section("coordinates"))

    assert places.facts["verified"] == "every"
    assert [(t["x"], t["y"]) for t in places.facts["invalid"]] == [(0, 0), (SIDE, SIDE)]
    assert len(rows_of(places)) == places.facts["tiles"] == 30


def test_sharpness_decides_as_it_does_for_pixels(tmp_path: Path) -> None:
    image = stained(8 * SIDE, 4 * SIDE, blob=(0, 0, 8 * SIDE, 4 * SIDE))
    image[:, : 4 * SIDE] = np.array([180, 110, 170])
    slide = write_tiff(tmp_path / "a.tif", image, mpp=2.0)
    quality = {"quality": {"min_sharpness": 1.0}}

    pixels = cut(slide, tmp_path / "store", section("pixels", **quality))
    places = cut(slide, tmp_path / "store", section("coordinates", **quality))

    assert places.facts["blurred"] == pixels.facts["blurred"] > 0
    sharp = [row["quality"] for row in rows_of(pixels)]
    assert [row["quality"] for row in rows_of(places)] == sharp
