"""DICOM slides: frames found, kept as they are, and coloured as their own markers say."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pyarrow as pa
import pytest
import simplejpeg
from PIL import Image
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.slides.dicom_writing import write_dicom
from tests.slides.making import JpegKind, Pixels, encoded, parts_of, tissue_like
from wsi_vit.geometry import Region
from wsi_vit.slides.facts import slide_facts
from wsi_vit.slides.readers.dicom import dicom_levels
from wsi_vit.slides.readers.reader import Level
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Artefact, Store

TILE, SIZE = 64, (200, 150)
LEVEL = Level(width=200, height=150, downsample=1.0, tile_width=TILE, tile_height=TILE)
KINDS: dict[str, JpegKind] = {"RGB": "rgb", "YBR_FULL_422": "own tables"}
"""What an honest file says, and how its frames are encoded."""


def frames_of(says: str, pixels: Pixels | None = None) -> list[bytes]:
    pixels = tissue_like(*SIZE) if pixels is None else pixels
    return [encoded(part, KINDS[says]) for part in parts_of(pixels, TILE)]


def decoded(frames: list[bytes]) -> Pixels:
    """Return the picture that the frames hold, as any viewer of JPEG shows them."""
    columns = -(-SIZE[0] // TILE)
    tiles = [simplejpeg.decode_jpeg(frame) for frame in frames]
    rows = [np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]
    return np.vstack(rows)[: SIZE[1], : SIZE[0]]


def shown(path: Path) -> Pixels:
    with open_slide(path) as slide:
        return slide.read(Region(0, 0, *SIZE), width_px=SIZE[0], height_px=SIZE[1])


def tiled(path: Path, root: Path, **grid: Any) -> tuple[Artefact, list[dict[str, Any]]]:
    asked = {"grid": {"tile_px": TILE, "mpp": 2.0, "min_tissue": 0.2, **grid}, "max_invalid": 0.5}
    section = TilesSection.model_validate(asked)
    made = tile_slide(SlideInput(path, "a"), section=section, store=Store(root))
    with pa.memory_map(str(made.folder / "tiles.arrow")) as source:
        return made, pa.ipc.open_stream(source).read_all().to_pylist()


@pytest.mark.parametrize("says", KINDS)
def test_frames_are_kept_as_they_are_and_are_openslides_pixels(tmp_path: Path, says: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", frames_of(says), size=SIZE, says=says)

    made, rows = tiled(path, tmp_path / "store")

    assert made.facts["copied"] == len(rows) > 3
    assert made.facts["recoloured"] == 0
    known = openslide.OpenSlide(path)
    for row in rows:
        truth = known.read_region((int(row["x"]), int(row["y"])), 0, (TILE, TILE))
        kept = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        assert np.array_equal(kept, np.asarray(truth)[..., :3])


@pytest.mark.parametrize(("says", "lie"), [("RGB", "YBR_FULL_422"), ("YBR_FULL_422", "RGB")])
def test_a_tag_that_lies_is_mended_counted_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, says: str, lie: str
) -> None:
    frames = frames_of(says)
    path = write_dicom(tmp_path / "a.dcm", frames, size=SIZE, says=lie)
    wrong = np.asarray(openslide.OpenSlide(path).read_region((0, 0), 0, SIZE))[..., :3]
    assert np.abs(wrong.astype(int) - decoded(frames)).mean() > 20, "else nothing is tested"

    made, rows = tiled(path, tmp_path / "store")

    assert np.array_equal(shown(path), decoded(frames))
    assert made.facts["recoloured"] == len(rows)
    assert "its JPEG tiles say otherwise" in caplog.text
    with open_slide(path) as slide:
        assert [level.is_recoloured for level in slide_facts(slide).levels] == [True]
    for row in rows:
        x, y = int(row["x"]), int(row["y"])
        kept = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        assert np.array_equal(kept, decoded(frames)[y : y + TILE, x : x + TILE])


def test_sparse_frames_are_found_wherever_they_are_written(tmp_path: Path) -> None:
    frames = frames_of("YBR_FULL_422")
    corners = [(x, y) for y in range(0, SIZE[1], TILE) for x in range(0, SIZE[0], TILE)]
    order = np.random.default_rng(3).permutation(len(frames))[:-2]
    path = write_dicom(
        tmp_path / "a.dcm",
        [frames[at] for at in order],
        size=SIZE,
        corners=[corners[at] for at in order],
    )

    with open_slide(path) as slide:
        assert slide.stored
        level = slide.stored.levels[0]
        assert level
        found = [slide.stored.raw(level, at) for at in range(len(frames))]

    assert found == [frame if at in order else b"" for at, frame in enumerate(frames)]


def test_the_label_is_not_taken_for_the_slide(tmp_path: Path) -> None:
    series, label = generate_uid(), ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    path = write_dicom(tmp_path / "a.dcm", frames_of("YBR_FULL_422"), size=SIZE, series=series)
    other = frames_of("RGB", tissue_like(*SIZE) // 2)
    write_dicom(tmp_path / "0.dcm", other, size=SIZE, says="RGB", series=series, ImageType=label)

    with open_slide(path) as slide:
        assert [level and level.path for level in slide.stored_levels] == [path]


@pytest.mark.parametrize("kept", [140, 300, 700])
def test_a_damaged_file_beside_the_slide_is_left_to_the_reader(tmp_path: Path, kept: int) -> None:
    series = generate_uid()
    path = write_dicom(tmp_path / "a.dcm", frames_of("YBR_FULL_422"), size=SIZE, series=series)
    half = (SIZE[0] // 2, SIZE[1] // 2)
    other = write_dicom(tmp_path / "b.dcm", [frames_of("RGB")[0]] * 4, size=half, series=series)
    other.write_bytes(other.read_bytes()[:kept])

    found = dicom_levels(path, [LEVEL])

    assert [level and level.path for level in found] == [path]


@pytest.mark.parametrize("name", ["Columns", "SeriesInstanceUID", "TotalPixelMatrixRows"])
def test_a_header_that_says_less_than_it_should_is_left_to_the_reader(
    tmp_path: Path, name: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", frames_of("YBR_FULL_422"), size=SIZE)
    said = dcmread(path)
    delattr(said, name)
    said.save_as(path)

    assert dicom_levels(path, [LEVEL]) == (None,)


@pytest.mark.real
def test_a_real_series_shows_the_colours_of_the_slide_it_was_made_from(real_data: Path) -> None:
    here = Region(1000, 500, 500, 500)
    with open_slide(real_data / "wsi-dicom/cmu-1-small-region/level-0-frames-0-30.dcm") as slide:
        mended = slide.read(here, width_px=500, height_px=500).astype(int)
        assert all(level and level.is_recoloured for level in slide.stored_levels)
    with open_slide(real_data / "wsi/CMU-1-Small-Region.svs") as slide:
        origin = slide.read(here, width_px=500, height_px=500).astype(int)

    assert np.abs(mended.mean((0, 1)) - origin.mean((0, 1))).max() < 3
