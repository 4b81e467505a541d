"""What is drawn, measured and cut from whole slides, against pixels that are known."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from tests.slides.making import stained, write_tiff, zero_tile
from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides import overview as overviews
from wsi_vit.slides import picture, shard
from wsi_vit.slides.facts import check_slide, slide_facts
from wsi_vit.slides.jpeg.encoding import encode_jpeg
from wsi_vit.slides.overview import read_overview
from wsi_vit.slides.picture import draw_picture
from wsi_vit.slides.quality.sharpness import sharpness
from wsi_vit.slides.readers.ome import ome_mpp
from wsi_vit.slides.resolution import ResolutionSection, StatedMpp, resolve_mpp
from wsi_vit.slides.shard import TileRow, write_shard
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.synthetic import SyntheticSection
from wsi_vit.slides.synthetic.cohort import synthesise_slide
from wsi_vit.slides.synthetic.truth import write_outlines
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.slides.tissue.glass import densities, glass_colour
from wsi_vit.slides.tissue.mask import TissueMask
from wsi_vit.slides.tissue.regions import close_gaps, drop_islands, fill_holes, grow, inner_edge
from wsi_vit.store import Store

GREEN, YELLOW, BLUE, RED = (0, 200, 83), (255, 214, 0), (41, 98, 255), (213, 0, 0)


def is_colour(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(pixels.astype(int) - colour) <= 2).all(axis=-1)


def mask_over(shape: tuple[int, int], cell: float, **boxes: tuple[int, int, int, int]) -> Any:
    """Return a mask whose parts are (left, top, right, bottom) in cells."""
    parts = {name: np.zeros(shape, bool) for name in ("is_tissue", "is_pen", "is_unreadable")}
    for name, (left, top, right, bottom) in boxes.items():
        parts[name][top:bottom, left:right] = True
    return TissueMask(**parts, base_px_per_cell=cell)


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "a.tif", np.full((200, 300, 3), 240, np.uint8), mpp=2.0)


def test_outlines_are_two_pixels_wide_inside_the_edge_of_what_they_outline(grey: Path) -> None:
    mask = mask_over((50, 75), 4.0, is_tissue=(10, 10, 30, 40), is_pen=(50, 5, 60, 15))
    with open_slide(grey) as slide:
        drawn = draw_picture(slide, mask, [])

    for colour, (left, top, right, bottom) in (
        (GREEN, (40, 40, 120, 160)), (YELLOW, (200, 20, 240, 60)),
    ):  # fmt: skip
        expected = np.zeros(drawn.shape[:2], bool)
        expected[top:bottom, left:right] = True
        expected[top + 2 : bottom - 2, left + 2 : right - 2] = False
        assert np.array_equal(is_colour(drawn, colour), expected)


def test_large_tiles_are_framed_and_small_ones_veiled(grey: Path) -> None:
    mask = mask_over((50, 75), 4.0)
    with open_slide(grey) as slide:
        framed = draw_picture(slide, mask, [Region(20, 30, 60, 60)]).astype(int)
        veiled = draw_picture(slide, mask, [Region(20, 30, 10, 10)]).astype(int)

    frame = np.array(BLUE) * 0.7 + 240 * 0.3
    assert np.abs(framed[30, 20:81] - frame).max() <= 2
    assert (framed[40, 40] == 240).all(), "the slide is seen inside the frame"
    assert np.abs(veiled[35, 25] - (np.array(BLUE) * 0.25 + 240 * 0.75)).max() <= 2
    assert (veiled[60, 60] == 240).all()


def test_what_cannot_be_read_is_red_where_it_lies(tmp_path: Path) -> None:
    pixels = stained(256, 192, blob=(0, 0, 256, 192))
    path = zero_tile(write_tiff(tmp_path / "a.tif", pixels, mpp=2.0, compression="jpeg"), 5)
    with open_slide(path) as slide:
        drawn = draw_picture(slide, mask_over((48, 64), 4.0), [])

    red = is_colour(drawn, RED)
    assert red[64:128, 64:128].all()
    assert red.sum() < 90**2


def test_a_picture_is_as_long_as_allowed_and_keeps_its_proportions(
    grey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "_LONGEST_PX", 100)
    mask = mask_over((50, 75), 4.0, is_tissue=(0, 0, 75, 50))
    with open_slide(grey) as slide:
        drawn = draw_picture(slide, mask, [])

    assert drawn.shape[1] == 100
    assert drawn.shape[0] in (67, 66)
    assert not is_colour(drawn, GREEN).any(), "tissue up to the border has no edge there"


def test_a_picture_takes_pixels_that_need_no_resampling_where_there_are_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "_LONGEST_PX", 100)
    pixels = stained(320, 192, blob=(40, 30, 200, 150))
    path = write_tiff(tmp_path / "a.tif", pixels, mpp=2.0, compression="jpeg")
    with open_slide(path) as slide:
        drawn = draw_picture(slide, mask_over((48, 80), 4.0), [])
        quarter = slide.read(Region(0, 0, 320, 192), width_px=80, height_px=48)

    assert np.array_equal(drawn, quarter), "as JPEG tiles decoded at a quarter, not 100 px long"


@pytest.mark.parametrize("cell", [1.0, 3.0, 3.7, 8.0])
def test_an_overview_is_the_mean_of_each_cell_whatever_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (150, 211, 3), np.uint8)
    path = write_tiff(tmp_path / "a.tif", noise, mpp=1.0, compression="zlib")
    with open_slide(path) as slide:
        whole = read_overview(slide, cell * slide.mpp)
        monkeypatch.setattr(overviews, "_BLOCK_CELLS", 13)
        parts = read_overview(slide, cell * slide.mpp)

    assert whole.pixels.shape[:2] == (int(np.ceil(150 / cell)), int(np.ceil(211 / cell)))
    assert np.abs(whole.pixels.astype(int) - parts.pixels).max() <= 1
    if cell == 3.0:
        means = noise[:, :210].reshape(50, 3, 70, 3, 3).mean(axis=(1, 3))
        assert np.abs(whole.pixels[:, :70] - means).max() <= 0.51


def test_an_error_that_is_no_bad_tile_is_not_painted_over(
    grey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_slide(grey) as slide:
        gone = SlideError(Reason.MISSING, "The disk is gone", remedy="Mount it")
        monkeypatch.setattr(slide, "read", lambda *_, **__: (_ for _ in ()).throw(gone))
        with pytest.raises(SlideError, match="disk is gone"):
            read_overview(slide, 8.0)


def slow_parts(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Return the 4-connected parts of a mask by walking from cell to cell."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    parts = []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            edge += near
        parts.append(part)
    return parts


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999), rows=st.integers(1, 9), columns=st.integers(1, 9),
    most=st.integers(0, 9),
)  # fmt: skip
def test_islands_and_holes_are_those_found_by_walking(
    seed: int, rows: int, columns: int, most: int
) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5
    kept, filled = np.zeros_like(mask), mask.copy()
    for part in slow_parts(mask):
        if len(part) > most:
            kept[tuple(np.array(list(part)).T)] = True
    for part in slow_parts(~mask):
        inside = all(0 < y < rows - 1 and 0 < x < columns - 1 for y, x in part)
        if inside and len(part) <= most:
            filled[tuple(np.array(list(part)).T)] = True

    assert np.array_equal(drop_islands(mask, most), kept)
    assert np.array_equal(fill_holes(mask, most), filled)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), cells=st.integers(0, 3))
def test_growing_reaches_as_far_as_the_steps_and_closing_loses_nothing(
    seed: int, cells: int
) -> None:
    mask = np.random.default_rng(seed).random((12, 14)) < 0.05
    within = mask | (np.random.default_rng(seed + 1).random(mask.shape) < 0.6)
    steps = ndimage.distance_transform_cdt(~mask, "taxicab") if mask.any() else None

    grown = grow(mask, cells)

    assert np.array_equal(grown, mask if steps is None else steps <= cells)
    assert not (grow(mask, cells, within=within) & ~within).any()
    assert (close_gaps(mask, cells) >= mask).all()
    assert (close_gaps(mask, cells) <= grown).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), cells=st.integers(0, 3))
def test_an_edge_is_what_erosion_takes_away(seed: int, cells: int) -> None:
    mask = np.random.default_rng(seed).random((12, 14)) < 0.8
    stays = mask if not cells else ndimage.binary_erosion(mask, iterations=cells, border_value=1)

    assert np.array_equal(inner_edge(mask, cells), mask & ~stays)


@pytest.mark.parametrize("glass", [(240, 240, 240), (235, 228, 220), (180, 180, 185)])
def test_the_colour_of_the_glass_is_found_beside_any_tissue(glass: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(20, 250, (100, 100, 3), np.uint8)
    pixels[:10] = glass

    found = glass_colour(pixels)

    assert np.abs(found - glass).max() <= 2
    assert densities(pixels[:10], found).max() < 0.02


def test_density_of_black_is_large_and_finite_and_brighter_than_glass_is_none() -> None:
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    found = densities(ends, np.full(3, 240, np.float32))

    assert np.isfinite(found).all()
    assert found[0, 0].min() > 2
    assert found[0, 1].max() == 0


def test_blur_takes_the_sharpness_and_light_does_not_matter() -> None:
    image = np.random.default_rng(0).integers(60, 180, (96, 96, 3), np.uint8)
    blurred = ndimage.gaussian_filter(image, (2, 2, 0))

    sharp, unsharp, brighter = sharpness([image, blurred, image + np.uint8(50)])

    assert unsharp < sharp / 100
    assert brighter == pytest.approx(sharp, rel=1e-3)
    assert sharpness([np.full((32, 32, 3), 9, np.uint8)]) == [0]


def test_sharpness_of_several_images_is_that_of_each_and_a_line_has_none() -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (5, 64, 48, 4), np.uint8))

    assert sharpness(images) == [sharpness([image])[0] for image in images]
    assert sharpness([np.zeros((2, 64, 3), np.uint8)]) == [0]


def test_jpeg_bytes_are_a_pure_function_of_pixels_in_any_layout() -> None:
    image = stained(65, 33, blob=(9, 9, 50, 30))
    strided = np.asfortranarray(image)

    assert encode_jpeg(image, 90) == encode_jpeg(strided, 90)
    shown = np.asarray(Image.open(io.BytesIO(encode_jpeg(image, 95)))).astype(int)
    assert shown.shape == image.shape
    assert np.abs(shown - image).mean() < 6


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_rows_are_written_as_they_come_and_few_are_held(tmp_path: Path, count: int) -> None:
    drawn: list[int] = []
    path = tmp_path / "a.arrow"

    def rows() -> Any:
        for number in range(count):
            drawn.append(path.stat().st_size)
            yield TileRow(
                image=bytes([number]) * 1000, slide_id="a", x=number, y=0, mpp=0.5, tissue=1,
                quality=0,
            )  # fmt: skip

    assert write_shard(path, rows()) == count
    with pa.memory_map(str(path)) as source:
        batches = list(pa.ipc.open_stream(source))
    assert [int(x) for batch in batches for x in batch["x"].to_pylist()] == list(range(count))
    assert all(batch.num_rows <= shard.ROWS_A_BATCH for batch in batches)
    held = [number * 1000 - size for number, size in enumerate(drawn)]
    assert max(held, default=0) <= shard.ROWS_A_BATCH * 1000, "the rest is on disk already"


def tiled(path: Path, root: Path, **grid: Any) -> Any:
    grid = {"tile_px": 48, "mpp": 2.6, **grid}
    section = TilesSection.model_validate({"grid": grid, "jpeg_quality": 100})
    return tile_slide(SlideInput(path, "a"), section=section, store=Store(root))


def test_tiles_of_an_odd_factor_show_the_colour_that_lies_under_them(tmp_path: Path) -> None:
    """Colour is a function of place, so a tile that is off by a pixel shows."""
    y, x = np.mgrid[:500, :620]
    pixels = np.stack([120 + x / 8, 60 + y / 8, 200 - (x + y) / 16], axis=-1)
    path = write_tiff(tmp_path / "a.tif", pixels.astype(np.uint8), mpp=2.0, compression="zlib")

    artefact = tiled(path, tmp_path / "store", overlap=0.3)

    with pa.memory_map(str(artefact.folder / "tiles.arrow")) as source:
        rows = pa.ipc.open_stream(source).read_all().to_pylist()
    side = 48 * 2.6 / 2.0
    assert artefact.facts["grid"]["side"] == pytest.approx(side, rel=1e-4)
    assert len(rows) > 40
    for row in rows:
        image = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).astype(float)
        middle = np.array([row["x"], row["y"]]) + side / 2
        expected = [120 + middle[0] / 8, 60 + middle[1] / 8, 200 - middle.sum() / 16]
        assert np.abs(image.mean((0, 1)) + 0.5 - expected).max() < 1.2


def test_reading_the_coarsest_level_only_finds_what_is_bad_there_only(tmp_path: Path) -> None:
    pixels = stained(256, 256, blob=(0, 0, 256, 256))
    path = write_tiff(tmp_path / "a.tif", pixels, mpp=2.0, levels=2, compression="jpeg")
    zero_tile(path, 6)

    assert check_slide(path, depth="coarsest").ok
    report = check_slide(path)
    assert (report.native_tiles, report.unreadable) == (20, 1)
    assert (report.bad[0].x, report.bad[0].y, report.bad[0].level) == (128, 64, 0)
    assert report.message
    assert "Copy the slide" in report.message


def test_facts_of_a_slide_without_resolution_are_told_without_one(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", stained(64, 64, blob=(0, 0, 9, 9)), mpp=None)
    with open_slide(path, resolution=ResolutionSection(missing="warn")) as slide:
        facts = slide_facts(slide)

    assert (facts.mpp, facts.mpp_source, facts.stated_mpp) == (None, "none", None)
    assert "NaN" not in facts.model_dump_json()


PIXELS = '<OME xmlns="o"><Image><Pixels PhysicalSizeX="{0}" PhysicalSizeY="{0}" {1}/></Image></OME>'
UNITS = 'PhysicalSizeXUnit="{0}" PhysicalSizeYUnit="{0}"'


@pytest.mark.parametrize("unit", ["\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "um"])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1", "shift_jis", "none such"])
def test_ome_xml_is_read_whatever_it_declares_and_whichever_mu_it_writes(
    unit: str, encoding: str
) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + PIXELS.format(0.5, UNITS.format(unit))

    expected = None if " " in encoding else StatedMpp(0.5, 0.5, "ome")  # a space is no XML
    assert ome_mpp(text) == expected


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [
        ("500", "nm", 0.5), ("5e-4", "mm", 0.5), ("5e-5", "cm", 0.5), ("5e-7", "m", 0.5),
        ("1", "pixel", None), ("1", "reference frame", None), ("", "nm", None), ("0,5", "nm", None),
        ("0", "nm", None),
    ],
)  # fmt: skip
def test_ome_units_of_no_length_say_nothing(size: str, unit: str, expected: float | None) -> None:
    found = ome_mpp(PIXELS.format(size, UNITS.format(unit)))

    assert (found and found.mpp_x) == (expected and pytest.approx(expected))


@pytest.mark.parametrize("broken", ["<OME>\udc80", "<OME", "<OME>&x;</OME>", "<OME/>", "", "OME"])
def test_ome_xml_that_is_none_says_nothing(broken: str) -> None:
    assert ome_mpp(broken) is None


@pytest.mark.parametrize("power", [20.0, 40.0, 0.001])
def test_an_assumed_magnification_is_refused_as_a_stated_one_is(power: float) -> None:
    section = ResolutionSection.model_validate({"missing": {"assume": power}})
    with pytest.raises(SlideError, match="assumed") as caught:
        resolve_mpp([], override=None, section=section, slide="a.svs")

    assert caught.value.reason is Reason.ABSURD_MPP


def test_outlines_of_a_synthetic_slide_are_its_mask_and_its_stain(tmp_path: Path) -> None:
    from wsi_vit.labels import LabelClass, LabelMap
    from wsi_vit.slides.annotations import read_annotations
    from wsi_vit.slides.synthetic import CLASSES

    section = SyntheticSection(width_px=1024, height_px=1024, pen_share=0)
    slide = synthesise_slide(seed=11, number=0, section=section)
    write_outlines(slide.layout.ids, tmp_path / "a.geojson", slide_id="a")
    labels = LabelMap(classes=tuple(LabelClass(name=n, colour="#000000") for n in CLASSES))
    drawn = read_annotations(tmp_path / "a.geojson", slide_size=(1024, 1024), labels=labels)

    mask = drawn.mask(Region(0, 0, 1024, 1024), width_px=256, height_px=256, other=255)

    assert np.array_equal(mask.astype(np.uint8) + np.uint8(1), slide.layout.ids)
    small = slide.picture.reshape(256, 4, 256, 4, 3).mean(axis=(1, 3))
    stain = small.max(axis=2) - small.min(axis=2)
    inside = ndimage.binary_erosion(slide.layout.ids > 0, iterations=3)
    outside = ~ndimage.binary_dilation(slide.layout.ids > 0, iterations=3)
    assert np.percentile(stain[outside], 99) < np.percentile(stain[inside], 25)
