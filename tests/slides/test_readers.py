"""TIFFs as odd as they come: against the pixels that were written, whichever library reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.slides.making import checkerboard, stained, write_tiff
from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.readers import tifffile_reader
from wsi_vit.slides.readers.openslide_reader import (
    OpenSlideReader,
    _background,
    _bounds,
    _number,
    _stated,
)
from wsi_vit.slides.readers.reader import refuse_absurd_size
from wsi_vit.slides.readers.tifffile_reader import TifffileReader
from wsi_vit.slides.resolution import ResolutionSection, StatedMpp
from wsi_vit.slides.slide import Slide, open_slide

NOISE = np.random.default_rng(0).integers(0, 256, (151, 203, 3), np.uint8)
STRIPS: dict[str, Any] = {"tile": None, "rowsperstrip": 16}


def whole(slide: Slide) -> np.ndarray:
    return slide.thumbnail(longest_px=10_000)


def refused(path: Path, **options: Any) -> SlideError:
    with pytest.raises(SlideError) as caught:
        open_slide(path, **options)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("layout", [{"tile": (64, 32)}, STRIPS, {"tile": None}], ids=str)
def test_what_was_written_without_loss_is_read_without_loss(
    tmp_path: Path, compression: str | None, layout: dict[str, Any]
) -> None:
    path = write_tiff(tmp_path / "a.tif", NOISE, compression=compression, **layout)

    with open_slide(path) as slide:
        assert np.array_equal(whole(slide), NOISE)


@pytest.mark.parametrize("options", [{"bigtiff": True}, {"byteorder": ">"}], ids=str)
def test_big_and_big_endian_tiffs_hold_the_same_pixels(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, NOISE, photometric="rgb", rowsperstrip=16, metadata=None, **options)

    with open_slide(path, mpp=0.5) as slide:
        assert slide.reader == "tifffile"
        assert np.array_equal(whole(slide), NOISE)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    x=st.integers(0, 202), y=st.integers(0, 150), width=st.integers(1, 90),
    height=st.integers(1, 90), layout=st.sampled_from([STRIPS, {"tile": (48, 32)}]),
    how=st.sampled_from(["separate", "contig"]),
)  # fmt: skip
def test_any_rectangle_of_any_layout_is_a_slice_of_the_picture(
    tmp_path_factory: pytest.TempPathFactory,
    x: int, y: int, width: int, height: int, layout: dict[str, Any], how: str,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("any") / "a.tif"
    pixels = NOISE.transpose(2, 0, 1) if how == "separate" else NOISE
    tifffile.imwrite(
        path, pixels, photometric="rgb", planarconfig=how, metadata=None, compression="zlib",
        **layout,
    )  # fmt: skip
    width, height = min(width, 203 - x), min(height, 151 - y)
    reader = TifffileReader(path)

    got = reader.read(0, x, y, width, height)

    reader.close()
    assert np.array_equal(got[..., :3], NOISE[y : y + height, x : x + width])
    assert (got[..., 3] == 255).all()


def four_samples(path: Path, kind: str, alpha: int, **options: Any) -> Path:
    colour = np.full((64, 96, 4), (100, 50, 20, alpha), np.uint8)
    options = {"rowsperstrip": 16, **options}
    pixels = colour.transpose(2, 0, 1) if options.get("planarconfig") == "separate" else colour
    extra = {"photometric": "rgb", "extrasamples": [kind], "metadata": None}
    tifffile.imwrite(path, pixels, **extra, **options)
    return path


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(
    ("kind", "alpha", "expected"),
    [
        pytest.param("unassalpha", 128, (177, 152, 137), id="colours beside half an alpha"),
        pytest.param("assocalpha", 128, (227, 177, 147), id="colours multiplied by it"),
        pytest.param("assocalpha", 0, (255, 255, 255), id="nothing there"),
        pytest.param("unassalpha", 255, (100, 50, 20), id="opaque"),
        pytest.param("unspecified", 0, (100, 50, 20), id="a fourth sample that is no alpha"),
    ],
)
def test_a_fourth_sample_is_what_the_file_says_it_is(
    tmp_path: Path, kind: str, alpha: int, expected: tuple[int, int, int], planar: str
) -> None:
    path = four_samples(tmp_path / "a.tif", kind, alpha, planarconfig=planar)

    with open_slide(path, mpp=0.5) as slide:
        got = whole(slide)

    assert np.abs(got.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 16}], ids=str)
@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (np.zeros((3, 128, 128), np.uint8), "minisblack"),
        (np.zeros((128, 128), np.uint8), "miniswhite"),
        (np.zeros((128, 128), np.uint16), "minisblack"),
        (np.zeros((128, 128, 3), np.uint16), "rgb"),
    ],
    ids=["three channels", "white is zero", "16 bits", "16 bits of colour"],
)
def test_grey_and_deep_pictures_are_never_painted_as_stains(
    tmp_path: Path, layout: dict[str, Any], pixels: np.ndarray, kind: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=kind, **layout)

    assert refused(tmp_path / "a.tif", mpp=0.5).reason is Reason.NOT_RGB


def test_plain_ycbcr_that_no_decoder_turns_into_colours_is_refused(tmp_path: Path) -> None:
    grey = np.full((64, 64, 3), (200, 128, 128), np.uint8)
    path = write_tiff(tmp_path / "a.tif", grey, photometric="ycbcr", compression="zlib", **STRIPS)

    assert refused(path).reason is Reason.NOT_RGB


def test_jpeg_in_ycbcr_comes_out_in_its_colours(tmp_path: Path) -> None:
    pixels = stained(192, 128, blob=(32, 32, 160, 96))
    path = write_tiff(tmp_path / "a.tif", pixels, compression="jpeg", **STRIPS)

    with open_slide(path) as slide:
        assert slide.reader == "tifffile"
        assert np.abs(whole(slide).mean((0, 1)) - pixels.mean((0, 1))).max() < 1.5


def test_a_tile_that_is_not_stored_is_glass_and_not_black(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", NOISE[:128, :128], compression="zlib", **STRIPS)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages[0].tags["StripByteCounts"]
        tag.overwrite([0, *tag.value[1:]])

    with open_slide(path) as slide:
        got = whole(slide)

    assert (got[:16] == 255).all()
    assert np.array_equal(got[16:], NOISE[16:128, :128])


def test_a_strip_too_large_to_be_read_in_parts_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff(tmp_path / "a.tif", NOISE, tile=None, rowsperstrip=151)
    monkeypatch.setattr(tifffile_reader, "_LARGEST_PIECE_BYTES", NOISE.size - 1)

    error = refused(path)

    assert error.reason is Reason.ABSURD_SIZE
    assert "tiled" in error.remedy


def test_labels_and_macro_images_behind_the_slide_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(NOISE, photometric="rgb", rowsperstrip=16, metadata=None)
        writer.write(np.zeros((99, 33, 3), np.uint8), photometric="rgb", metadata=None)

    with open_slide(path, mpp=0.5) as slide:
        assert [(level.width, level.height) for level in slide.levels] == [(203, 151)]
        assert np.array_equal(whole(slide), NOISE)


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, STRIPS], ids=["openslide", "tifffile"])
@pytest.mark.parametrize(
    ("rates", "unit", "expected"),
    [
        ((50_800, 50_800), "INCH", 0.5),
        ((20_000, 20_000), "CENTIMETER", 0.5),
        (((200_000_000, 73_057), (200_000_000, 73_057)), "CENTIMETER", 3.65285),
        ((20_000, 20_000), "NONE", Reason.NO_MPP),
        (((0, 1), (0, 1)), "CENTIMETER", Reason.NO_MPP),
        ((72, 72), "INCH", Reason.ABSURD_MPP),
        ((1_000_000, 1_000_000), "CENTIMETER", Reason.ABSURD_MPP),
        ((20_000, 10_000), "CENTIMETER", Reason.ANISOTROPIC_MPP),
    ],
)
def test_tags_mean_the_same_to_both_readers(
    tmp_path: Path, layout: dict[str, Any], rates: Any, unit: str, expected: float | Reason
) -> None:
    options = {"resolution": rates, "resolutionunit": unit, **layout}
    path = write_tiff(tmp_path / "a.tif", NOISE[:64, :64], mpp=None, **options)

    if isinstance(expected, Reason):
        error = refused(path)
        assert error.reason is expected
        assert "mpp column" in error.remedy
        return
    with open_slide(path) as slide:
        assert (slide.mpp, slide.resolution.source) == (pytest.approx(expected, rel=1e-4), "tiff")


def test_tags_win_over_ome_xml_unless_they_cannot_be_right(tmp_path: Path) -> None:
    found = []
    for number, rate in enumerate((20_000, 28)):  # 0.5 µm, and the customary 72 dpi
        path = tmp_path / f"{number}.ome.tif"
        size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "axes": "YXS"}
        tifffile.imwrite(
            path, NOISE, photometric="rgb", rowsperstrip=16, metadata=size, ome=True,
            resolution=(rate, rate), resolutionunit="CENTIMETER",
        )  # fmt: skip
        with open_slide(path) as slide:
            found.append((slide.mpp, slide.resolution.source, slide.resolution.stated))

    assert found[0][:2] == (pytest.approx(0.5), "tiff")
    assert found[1][:2] == (pytest.approx(0.25), "ome")
    assert found[1][2].source == "tiff", "what was not believed is kept beside it"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25"}, [("vendor", 0.25)]),
        ({"openslide.mpp-x": "0.25"}, []),
        ({"openslide.mpp-x": "0,25", "openslide.mpp-y": "0,25"}, []),
        ({"openslide.mpp-x": "nan", "openslide.mpp-y": "inf"}, []),
        ({"openslide.mpp-x": "0", "openslide.mpp-y": "0"}, []),
        ({"tiff.XResolution": "2e4", "tiff.YResolution": "2e4"}, []),
    ],
)
def test_properties_that_are_no_numbers_say_nothing(
    said: dict[str, str], expected: list[tuple[str, float]]
) -> None:
    found = _stated({"openslide.vendor": "aperio", **said})

    assert [(claim.source, claim.mpp_x) for claim in found] == expected


def test_sources_are_asked_in_the_order_that_is_promised() -> None:
    said = {
        "openslide.vendor": "dicom", "openslide.mpp-x": "0.4", "openslide.mpp-y": "0.4",
        "tiff.ResolutionUnit": "inch", "tiff.XResolution": "50800", "tiff.YResolution": "50800",
        "tiff.ImageDescription": '<OME><Pixels PhysicalSizeX="0.3" PhysicalSizeY="0.3"/></OME>',
    }  # fmt: skip

    assert _stated(said) == [
        StatedMpp(0.5, 0.5, "tiff"), StatedMpp(0.3, 0.3, "ome"), StatedMpp(0.4, 0.4, "dicom"),
    ]  # fmt: skip


@pytest.mark.parametrize("missing", ["x", "y", "width", "height"])
def test_bounds_that_are_not_whole_are_none_and_empty_ones_an_error(missing: str) -> None:
    said = {f"openslide.bounds-{key}": "7" for key in ("x", "y", "width", "height")}
    assert _bounds(said, Path("a")) == Region(7, 7, 7, 7)

    assert _bounds(said | {f"openslide.bounds-{missing}": "none"}, Path("a")) is None
    for key in ("width", "height"):
        with pytest.raises(SlideError, match="absurd_size"):
            _bounds(said | {f"openslide.bounds-{key}": "0"}, Path("a"))


@pytest.mark.parametrize("text", ["", "FFF", "GGGGGG", "FFEEDDCC", "12345"])
def test_a_background_that_is_no_rrggbb_is_white(text: str) -> None:
    assert _background(text) == (255, 255, 255)
    assert _background("#102030") == (16, 32, 48)
    assert _number(text + "x") is None


@pytest.mark.parametrize(
    ("width", "height", "file_bytes"),
    [
        (100_000, 100_000, 400_000),
        (0, 100, 10_000),
        (-5, -5, 10_000),
        (1 << 22, 1, 10_000),
    ],
)
def test_a_plane_that_cannot_be_in_its_file_is_refused(
    width: int, height: int, file_bytes: int
) -> None:
    with pytest.raises(SlideError, match="more pixels than the file can hold") as caught:
        refuse_absurd_size(width, height, file_bytes, "a.svs")

    assert caught.value.reason is Reason.ABSURD_SIZE
    assert "a.svs" in str(caught.value.got)


def test_blank_slides_compress_well_and_are_believed() -> None:
    for width, height, file_bytes in ((100_000, 80_000, 1_000_000), (4096, 4096, 1)):
        assert refuse_absurd_size(width, height, file_bytes, "a") is None


def test_a_level_of_odd_size_is_read_within_half_a_base_pixel(tmp_path: Path) -> None:
    """OpenSlide takes whole base pixels: a level at 2.0036 cannot be hit exactly everywhere."""
    ramp = np.repeat((np.arange(641) % 250)[None, :, None], 487, axis=0).repeat(3, axis=2)
    path = write_tiff(tmp_path / "a.tif", ramp.astype(np.uint8), levels=2, compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        stored = tiff.pages[1].asarray().astype(int)
    reader = OpenSlideReader(path)

    got = reader.read(1, 7, 0, 100, 20)[..., :3].astype(int)

    reader.close()
    assert np.abs(got - stored[:20, 7:107]).max() <= 1, "2 grey levels a pixel: half of one is 1"


def test_the_far_edge_of_a_plane_of_odd_size_lies_within_a_pixel_of_the_level(
    tmp_path: Path,
) -> None:
    pixels = np.zeros((487, 641, 3), np.uint8)
    pixels[:, 600:] = 200
    path = write_tiff(tmp_path / "a.tif", pixels, levels=3, compression="zlib")

    with open_slide(path) as slide:
        got = slide.read(Region(560, 10, 80, 40), width_px=20, height_px=10)

    dark = 20 - got[5, :, 0].sum() / 200
    assert 560 + 4 * dark == pytest.approx(600, abs=slide.levels[2].downsample)


def test_a_closed_slide_opens_anew(tmp_path: Path) -> None:
    for name, layout in (("a", {}), ("b", STRIPS)):
        path = write_tiff(tmp_path / f"{name}.tif", NOISE, compression="zlib", **layout)
        slide = open_slide(path)
        slide.close()
        assert np.array_equal(whole(slide), NOISE), slide.reader
        slide.close()
        slide.close()


@pytest.mark.parametrize(
    ("region", "size"),
    [
        (Region(0, 0, 0, 5), (5, 5)),
        (Region(0, 0, -5, 5), (5, 5)),
        (Region(0, 0, float("nan"), 5), (5, 5)),
        (Region(0, 0, 5, 5), (0, 5)),
    ],
)
def test_nothing_to_read_is_a_callers_mistake(
    tmp_path: Path, region: Region, size: tuple[int, int]
) -> None:
    path = write_tiff(tmp_path / "a.tif", checkerboard(64, 64, 8))
    with open_slide(path) as slide, pytest.raises(ValueError, match="nothing to read"):
        slide.read(region, width_px=size[0], height_px=size[1])


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(-60, 220), y=st.floats(-60, 170), step=st.floats(0.5, 6),
    columns=st.integers(1, 40), rows=st.integers(1, 40),
)  # fmt: skip
def test_any_region_is_the_integral_of_the_padded_plane(
    tmp_path_factory: pytest.TempPathFactory,
    x: float, y: float, step: float, columns: int, rows: int,
) -> None:  # fmt: skip
    step = max(step, 1.0)
    path = tmp_path_factory.getbasetemp() / "integral.tif"
    if not path.exists():
        write_tiff(path, NOISE, compression="zlib", **STRIPS)

    with open_slide(path) as slide:
        region = Region(x, y, columns * step, rows * step)
        got = slide.read(region, width_px=columns, height_px=rows)

    room = 320
    plane = np.pad(NOISE[..., 0].astype(float), room, constant_values=255)
    table = np.pad(plane.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    at_y = room + y + step * np.arange(rows + 1)
    at_x = room + x + step * np.arange(columns + 1)
    lines = np.stack([np.interp(at_x, np.arange(table.shape[1]), line) for line in table])
    corners = np.stack([np.interp(at_y, np.arange(len(table)), line) for line in lines.T])
    means = np.diff(np.diff(corners, axis=0), axis=1).T / step**2
    assert np.abs(got[..., 0] - means).max() <= 0.51


def test_a_resolution_without_a_source_is_asked_for_only_where_it_is_needed(
    tmp_path: Path,
) -> None:
    path = write_tiff(tmp_path / "a.tif", NOISE, mpp=None, compression="zlib")
    with open_slide(path, resolution=ResolutionSection(missing="warn")) as slide:
        assert np.array_equal(whole(slide), NOISE), "pixels need no micrometres"
