import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.slides.making import checkerboard, stained, write_tiff, zero_tile
from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.readers import openslide_reader
from wsi_vit.slides.resolution import ResolutionSection
from wsi_vit.slides.slide import open_slide


def test_a_slide_says_where_its_resolution_is_from(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", checkerboard(200, 150, 10), mpp=0.325)

    with open_slide(path) as slide:
        assert slide.size == (200, 150)
        assert (slide.reader, slide.resolution.source) == ("openslide", "tiff")
        assert slide.mpp == pytest.approx(0.325, rel=1e-4)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("step", [1.0, 1.37, 2.0, 3.97, 5.3])
def test_a_checkerboard_comes_out_in_place_at_any_step(
    tmp_path: Path, step: float, levels: int
) -> None:
    path = write_tiff(
        tmp_path / "a.tif", checkerboard(641, 487, 64), levels=levels, compression="zlib"
    )
    left, top, size = 51.3, 30.7, 80

    with open_slide(path) as slide:
        got = slide.read(Region(left, top, size * step, size * step), width_px=size, height_px=size)

    x, y = (start + step * (np.arange(size) + 0.5) for start in (left, top))
    inside = (x[None] < 640) & (y[:, None] < 448)
    sure = (np.abs((x / 64) - np.round(x / 64)) * 64 > 1.2 * step)[None] & (
        np.abs((y / 64) - np.round(y / 64)) * 64 > 1.2 * step
    )[:, None]
    expected = ((x // 64)[None] + (y // 64)[:, None]) % 2 * 255
    check = inside & sure
    assert np.abs(got[..., 0].astype(float) - expected)[check].max() <= 1


@pytest.mark.parametrize("levels", [1, 3])
def test_an_edge_lies_within_a_twentieth_of_a_pixel_of_where_it_is(
    tmp_path: Path, levels: int
) -> None:
    pixels = np.zeros((256, 512, 3), np.uint8)
    pixels[:, 200:] = 200
    path = write_tiff(tmp_path / "a.tif", pixels, levels=levels, compression="zlib")

    with open_slide(path) as slide:
        got = slide.read(Region(3.3, 10, 4.4 * 60, 44), width_px=60, height_px=10)

    dark = 60 - got[5, :, 0].sum() / 200
    assert 3.3 + 4.4 * dark == pytest.approx(200, abs=4.4 / 20)


def test_blocks_leave_no_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    path = write_tiff(tmp_path / "a.tif", noise, compression="zlib")
    region = Region(1.5, 2.5, 280, 280)
    with open_slide(path) as slide:
        whole = slide.read(region, width_px=111, height_px=111)
        monkeypatch.setattr("wsi_vit.slides.slide._BLOCK_PX", 37)
        parts = slide.read(region, width_px=111, height_px=111)

    assert np.abs(whole.astype(int) - parts).max() <= 1


def test_beyond_the_plane_lies_background(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", np.full((64, 64, 3), 7, np.uint8), compression="zlib")

    with open_slide(path) as slide:
        got = slide.read(Region(-32, -32, 64, 64), width_px=64, height_px=64)
        away = slide.read(Region(1000, 1000, 10, 10), width_px=5, height_px=5)

    assert (got[:32] == 255).all()
    assert (got[32:, 32:] == 7).all()
    assert (away == 255).all()


def test_what_was_not_scanned_takes_the_background_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff(tmp_path / "a.tif", np.full((64, 64, 3), 7, np.uint8))
    with open_slide(path) as slide:
        clear = np.zeros((64, 64, 4), np.uint8)
        clear[:, :32] = (100, 100, 100, 128)
        monkeypatch.setattr(slide._reader, "read", lambda *_: clear)
        got = slide.read(Region(0, 0, 64, 64), width_px=64, height_px=64)

    assert (got[:, 32:] == 255).all()
    assert (got[:, :32] == 177).all()


def test_bounds_and_background_colour_are_kept_and_move_nothing() -> None:
    said = {f"openslide.bounds-{k}": v for k, v in zip("xy", ("10", "20"), strict=True)}
    said |= {"openslide.bounds-width": "300", "openslide.bounds-height": "400"}

    assert openslide_reader._bounds(said, Path("a")) == Region(10, 20, 300, 400)
    assert openslide_reader._bounds({}, Path("a")) is None
    assert openslide_reader._background("FFEEDD") == (255, 238, 221)
    assert openslide_reader._background("no colour") == (255, 255, 255)


def test_a_bad_tile_fails_alone_and_the_handle_is_fresh_again(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    path = zero_tile(write_tiff(tmp_path / "a.tif", pixels, compression="jpeg"), 5)

    with open_slide(path) as slide:
        slide.read(Region(0, 0, 64, 64), width_px=64, height_px=64)
        for _ in range(3):
            with pytest.raises(SlideError) as caught:
                slide.read(Region(64, 64, 64, 64), width_px=64, height_px=64)
            assert caught.value.reason is Reason.UNREADABLE_TILES
            slide.read(Region(128, 128, 64, 64), width_px=64, height_px=64)


def test_many_threads_read_what_one_reads(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    path = write_tiff(tmp_path / "a.tif", pixels, compression="zlib")
    places = [Region(x, y, 64, 64) for x in range(0, 449, 37) for y in range(0, 449, 41)]
    with open_slide(path) as slide:

        def read(place: Region) -> bytes:
            return slide.read(place, width_px=64, height_px=64).tobytes()

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(read, places)) == [read(place) for place in places]


def test_the_thumbnail_is_never_enlarged(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", checkerboard(200, 100, 50))

    with open_slide(path) as slide:
        assert slide.thumbnail(longest_px=50).shape == (25, 50, 3)
        assert slide.thumbnail(longest_px=5000).shape == (100, 200, 3)


def test_a_stripped_tiff_that_openslide_refuses_is_read_by_tifffile(tmp_path: Path) -> None:
    pixels = stained(300, 200, blob=(50, 50, 200, 150))
    path = write_tiff(tmp_path / "a.tif", pixels, tile=None, rowsperstrip=16)

    with open_slide(path) as slide:
        got = slide.read(Region(37, 41, 100, 90), width_px=100, height_px=90)

        assert slide.reader == "tifffile"
        assert np.array_equal(got, pixels[41:131, 37:137])


def test_a_planar_tiff_keeps_its_colours(tmp_path: Path) -> None:
    pixels = stained(300, 200, blob=(50, 50, 200, 150))
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate",
        tile=(64, 64), metadata=None,
    )  # fmt: skip

    with open_slide(path, mpp=0.5) as slide:
        got = slide.read(Region(37, 41, 100, 90), width_px=100, height_px=90)

    assert np.array_equal(got, pixels[41:131, 37:137])


def test_an_ome_pyramid_in_subifds_is_read_with_all_its_levels(tmp_path: Path) -> None:
    pixels = stained(512, 512, blob=(50, 50, 400, 300))
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        size = {"PhysicalSizeX": 0.44, "PhysicalSizeY": 0.44, "axes": "YXS"}
        common = {"tile": (64, 64), "photometric": "rgb"}
        writer.write(pixels, subifds=1, metadata=size, **common)
        writer.write(pixels[::2, ::2], subfiletype=1, **common)

    with open_slide(path) as slide:
        assert (slide.reader, len(slide.levels)) == ("tifffile", 2)
        assert (slide.mpp, slide.resolution.source) == (pytest.approx(0.44), "ome")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_fluorescence_is_refused_and_its_channels_are_counted(
    tmp_path: Path, dtype: type[np.generic]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 64, 80), dtype), photometric="minisblack")

    with pytest.raises(SlideError, match="3 page") as caught:
        open_slide(path, mpp=0.5)

    assert caught.value.reason is Reason.NOT_RGB


def absurd_tiff(path: Path) -> Path:
    """Write the header of a 200,000 x 200,000 px TIFF, and nothing behind it."""
    tags = [
        (256, 4, 1, 200_000), (257, 4, 1, 200_000), (258, 3, 1, 8), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, 200_000), (279, 4, 1, 100),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4))
    return path


def test_a_header_that_claims_the_earth_is_refused_at_once(tmp_path: Path) -> None:
    path = absurd_tiff(tmp_path / "a.tif")
    (tmp_path / "warm.tif").write_bytes(b"II*\0" + b"\xff" * 50)
    with pytest.raises(SlideError):
        open_slide(tmp_path / "warm.tif")  # imports are not what is timed
    start = time.monotonic()

    with pytest.raises(SlideError) as caught:
        open_slide(path, mpp=0.5)

    assert caught.value.reason is Reason.ABSURD_SIZE
    assert time.monotonic() - start < 2


def test_files_that_are_no_slides_are_refused_by_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    (tmp_path / "text.svs").write_text("not a slide\n" * 100)
    (tmp_path / "magic.tif").write_bytes(b"II*\0" + b"\xff" * 50)
    (tmp_path / "away.svs").symlink_to(tmp_path / "nowhere.svs")
    os.mkfifo(tmp_path / "pipe.svs")
    expected = {
        "empty.svs": Reason.EMPTY_FILE,
        "text.svs": Reason.NOT_A_SLIDE,
        "magic.tif": Reason.UNREADABLE,
        "away.svs": Reason.MISSING,
        "none.svs": Reason.MISSING,
        "pipe.svs": Reason.UNSAFE_PATH,
        ".": Reason.UNSAFE_PATH,
        "two\nlines.svs": Reason.UNSAFE_PATH,
    }
    for name, reason in expected.items():
        with pytest.raises(SlideError) as caught:
            open_slide(tmp_path / name)
        assert caught.value.reason is reason, name


def test_a_slide_cut_short_anywhere_never_ends_in_a_traceback_from_below(tmp_path: Path) -> None:
    whole = write_tiff(tmp_path / "a.tif", checkerboard(200, 200, 9), levels=2).read_bytes()
    path = tmp_path / "short.tif"
    for length in range(1, len(whole), len(whole) // 40):
        path.write_bytes(whole[:length])
        try:
            with open_slide(path, mpp=0.5) as slide:
                slide.thumbnail(longest_px=200)
        except SlideError as error:
            assert error.remedy


def test_a_link_to_a_slide_is_a_slide(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", checkerboard(64, 64, 9))
    (tmp_path / "b.tif").symlink_to(path)

    with open_slide(tmp_path / "b.tif") as slide:
        assert slide.size == (64, 64)


def test_asking_for_the_mpp_of_a_slide_without_one_names_the_cohorts_column(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", checkerboard(64, 64, 9), mpp=None)
    with open_slide(path, resolution=ResolutionSection(missing="warn")) as slide:
        assert slide.resolution.source == "none"
        with pytest.raises(SlideError, match="cohort"):
            _ = slide.mpp


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wsi-broken/CMU-1-Small-Region_first300000bytes.svs", Reason.UNREADABLE),
        ("wsi-broken/histolab-broken.svs", Reason.NOT_A_SLIDE),
        ("wsi-broken/openslide-python_unopenable.tiff", Reason.UNREADABLE),
        ("wsi/TCGA-CR-7395-01A-01-TS1.svs", Reason.NO_MPP),
        ("wsi/openslide-python_boxes.tiff", Reason.ABSURD_MPP),
        ("wsi/small_vectra.qptiff", Reason.NOT_RGB),
        ("README.md", Reason.NOT_A_SLIDE),
    ],
)
def test_real_files_that_cannot_be_used_say_why(real_data: Path, name: str, reason: Reason) -> None:
    with pytest.raises(SlideError) as caught:
        open_slide(real_data / name)

    assert caught.value.reason is reason


@pytest.mark.real
def test_the_channels_of_a_real_fluorescence_slide_are_named(real_data: Path) -> None:
    with pytest.raises(SlideError, match="DAPI, FITC, Cy3"):
        open_slide(real_data / "wsi/small_vectra.qptiff", mpp=0.5)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "mpp", "source"),
    [
        ("wsi/CMU-1-Small-Region.svs", None, "vendor"),
        ("wsi/TCGA-CR-7395-01A-01-TS1.svs", 0.25, "override"),
        ("wsi-dicom/cmu-1-small-region/level-0-frames-0-30.dcm", None, "dicom"),
    ],
)
def test_real_slides_open(real_data: Path, name: str, mpp: float | None, source: str) -> None:
    with open_slide(real_data / name, mpp=mpp) as slide:
        assert slide.resolution.source == source
        assert slide.thumbnail(longest_px=64).std() > 5
