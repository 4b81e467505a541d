"""Stored JPEG tiles: made to stand alone they are OpenSlide's pixels, whoever decodes them."""

import io
from pathlib import Path

import numpy as np
import openslide
import pytest
import simplejpeg
from PIL import Image

from tests.slides.making import JpegKind, tissue_like, write_jpeg_tiff, write_tiff, zero_tile
from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.jpeg.stream import StreamError, standing_alone
from wsi_vit.slides.slide import Slide, open_slide

KINDS: list[JpegKind] = ["tables", "own tables", "rgb", "rgb with jfif"]


def differing(path: Path, mpp: float, every: int = 1) -> tuple[int, int]:
    """Return how many tiles were compared, and how many differ from OpenSlide for any decoder."""
    known, compared, different = openslide.OpenSlide(path), 0, 0
    with open_slide(path, mpp=mpp) as slide:
        assert slide.stored
        level = slide.stored.levels[0]
        assert level
        for index in range(0, len(level.counts), every):
            row, column = divmod(index, level.columns)
            x, y = column * level.tile_width, row * level.tile_height
            size = min(level.tile_width, level.width - x), min(level.tile_height, level.height - y)
            truth = np.asarray(known.read_region((x, y), 0, size))[..., :3]
            stream, _ = slide.stored.standalone(level, index)
            shown = np.asarray(Image.open(io.BytesIO(stream)))
            decoded = [shown, simplejpeg.decode_jpeg(stream)]
            here = Region(x, y, *size)
            decoded.append(slide.read(here, width_px=size[0], height_px=size[1]))
            compared += 1
            different += any(
                not np.array_equal(picture[: size[1], : size[0]], truth) for picture in decoded
            )
    return compared, different


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_jpeg_tile_stands_alone_as_openslide_reads_it(
    tmp_path: Path, kind: JpegKind
) -> None:
    path = write_jpeg_tiff(tmp_path / "a.tif", tissue_like(200, 150), kind=kind)

    assert differing(path, 0.5) == (12, 0)


def test_tiles_read_together_are_those_read_one_by_one(tmp_path: Path) -> None:
    path = write_jpeg_tiff(tmp_path / "a.tif", tissue_like(200, 150), kind="tables")
    with open_slide(path, mpp=0.5) as slide:
        assert slide.stored
        level = slide.stored.levels[0]
        assert level
        for wanted in ([0, 1, 2, 7, 8, 11], [5], [3, 2, 9], list(range(12))):
            together = slide.stored.raws(level, np.array(wanted))
            assert together == [slide.stored.raw(level, index) for index in wanted]
        assert len({bytes(tile) for tile in together}) == 12


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "every"),
    [
        pytest.param("wsi/CMU-1-Small-Region.svs", 1, id="tables, RGB, 240 px"),
        pytest.param("wsi-colon/P2_0039_section1_half.tif", 9, id="own tables, YCbCr"),
    ],
)
def test_real_jpeg_tiles_stand_alone_as_openslide_reads_them(
    real_data: Path, name: str, every: int
) -> None:
    compared, different = differing(real_data / name, 0.5, every)

    assert compared > 100
    assert different == 0


def test_a_tile_that_any_decoder_reads_right_is_left_as_it_is() -> None:
    stream = simplejpeg.encode_jpeg(tissue_like(32, 32), colorsubsampling="420")

    opening = standing_alone(stream, b"", colour="YCbCr", size=(32, 32))

    assert opening.standalone == opening.stored
    assert stream.startswith(opening.stored)


def test_comments_of_a_scanner_are_left_behind() -> None:
    stream = simplejpeg.encode_jpeg(tissue_like(32, 32))
    told = stream[:2] + b"\xff\xfe\0\x0aJane Doe" + stream[2:]

    opening = standing_alone(told, b"", colour="YCbCr", size=(32, 32))

    assert b"Jane" in opening.stored
    assert b"Jane" not in opening.standalone


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        pytest.param(b"\0" * 400, "no start", id="zeroed"),
        pytest.param(b"\xff\xd8\xff", "breaks off", id="cut in the header"),
        pytest.param(
            simplejpeg.encode_jpeg(tissue_like(16, 32)), "16 x 32 px where", id="another size"
        ),
        pytest.param(
            simplejpeg.encode_jpeg(np.zeros((32, 32, 1), np.uint8), colorspace="GRAY"),
            "three components",
            id="grey",
        ),
    ],
)
def test_what_is_not_the_tile_the_file_speaks_of_is_refused(stream: bytes, why: str) -> None:
    with pytest.raises(StreamError, match=why):
        standing_alone(stream, b"", colour="YCbCr", size=(32, 32))


def test_a_progressive_jpeg_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(tissue_like(32, 32)).save(buffer, "JPEG", progressive=True)

    with pytest.raises(StreamError, match="no baseline"):
        standing_alone(buffer.getvalue(), b"", colour="YCbCr", size=(32, 32))


def test_levels_that_are_no_jpeg_have_no_stored_tiles(tmp_path: Path) -> None:
    with open_slide(write_tiff(tmp_path / "a.tif", tissue_like(99, 99), compression="zlib")) as one:
        assert one.stored is None
        assert {plane.factor for plane in one.planes} == {1}


# ------------------------------------------------------------- scaled decoding


def against_full_decode(slide: Slide, region: Region, side: int) -> float:
    """Return the PSNR in dB of what is read against full tiles and exact area means."""
    wide = round(region.width)
    full = slide.read(region, width_px=wide, height_px=wide).astype(np.float64)
    edges = np.linspace(0, wide, side + 1)
    sums = np.zeros((wide + 1, wide + 1, 3))
    sums[1:, 1:] = full.cumsum(0).cumsum(1)
    at = np.arange(wide + 1)
    rows = np.stack([np.interp(edges, at, sums[:, i, c]) for i in at for c in range(3)], 1)
    rows = rows.reshape(side + 1, wide + 1, 3)
    both = np.stack(
        [np.interp(edges, at, rows[i, :, c]) for i in range(side + 1) for c in range(3)]
    )
    table = both.reshape(side + 1, 3, side + 1).transpose(0, 2, 1)
    means = np.diff(np.diff(table, axis=0), axis=1) / (wide / side) ** 2
    read = slide.read(region, width_px=side, height_px=side)
    return float(10 * np.log10(255**2 / ((read - means) ** 2).mean()))


@pytest.mark.parametrize("wide", [256, 512, 300], ids=["1/2", "1/4", "1/2 and resampled"])
def test_scaled_decoding_is_area_means_within_40_db(tmp_path: Path, wide: int) -> None:
    path = write_jpeg_tiff(tmp_path / "a.tif", tissue_like(640, 640), tile=128)
    with open_slide(path) as slide:
        assert against_full_decode(slide, Region(64, 0, wide, wide), 128) >= 40


@pytest.mark.real
@pytest.mark.parametrize("step", [1.48, 2.0, 2.96, 3.5])
def test_scaled_decoding_of_real_tissue_is_area_means_within_40_db(
    real_data: Path, step: float
) -> None:
    with open_slide(real_data / "wsi-colon/P2_0039_section1_half.tif", mpp=1.0) as slide:
        side = 100
        region = Region(3200, 5600, side * step, side * step)
        assert against_full_decode(slide, region, side) >= 40


def test_beyond_the_last_whole_block_no_padding_shows(tmp_path: Path) -> None:
    path = write_jpeg_tiff(tmp_path / "a.tif", np.full((150, 200, 3), 200, np.uint8))
    with open_slide(path) as slide:
        picture = slide.read(Region(128, 96, 128, 128), width_px=64, height_px=64)

    truth = np.full((64, 64, 3), 255)
    truth[:27, :36] = 200
    assert np.abs(picture - truth).max() <= 3


def test_a_tile_of_which_the_decoder_has_doubts_is_unreadable_at_every_scale(
    tmp_path: Path,
) -> None:
    path = write_jpeg_tiff(tmp_path / "a.tif", tissue_like(256, 256), tile=128)
    with open_slide(path) as slide:
        assert slide.stored
        assert slide.stored.levels[0]
        offset, count = (int(v[1]) for v in (slide.stored.levels[0].offsets,
                                             slide.stored.levels[0].counts))  # fmt: skip
    with path.open("r+b") as stream:
        stream.seek(offset + count // 2)
        stream.write(np.random.default_rng(1).bytes(400))
    with open_slide(path) as slide:
        for side in (128, 64, 32, 16):
            with pytest.raises(SlideError) as caught:
                slide.read(Region(128, 0, 128, 128), width_px=side, height_px=side)
            assert caught.value.reason is Reason.UNREADABLE_TILES
        assert slide.read(Region(0, 0, 128, 128), width_px=64, height_px=64).mean() > 50


def test_a_tile_that_is_not_there_is_the_readers_to_judge(tmp_path: Path) -> None:
    path = zero_tile(write_jpeg_tiff(tmp_path / "a.tif", tissue_like(128, 128)), 2)
    with open_slide(path) as slide, pytest.raises(SlideError, match="Not a JPEG"):
        slide.read(Region(0, 64, 64, 64), width_px=64, height_px=64)


def test_bytes_behind_a_whole_tile_are_no_damage(tmp_path: Path) -> None:
    """Some writers pad tiles, before or behind the end of image; OpenSlide reads them."""
    picture = tissue_like(64, 64)
    for padded in (lambda tile: tile[:-2] + b"\0" * 9 + tile[-2:], lambda tile: tile + b"\0" * 9):
        path = write_jpeg_tiff(tmp_path / "a.tif", picture, mended=padded)
        with open_slide(path) as slide:
            read = slide.read(Region(0, 0, 64, 64), width_px=32, height_px=32)

        means = picture.reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(read - means).mean() < 4
