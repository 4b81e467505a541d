"""The plan is arithmetic: small tables, and a slow reference with fractions."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_vit.geometry import Mpp, Region
from wsi_vit.slides.areas import boxes_of
from wsi_vit.slides.grid import GridSection, StoredTiling, TileGrid, plan_grid
from wsi_vit.slides.jpeg.level import StoredLevel
from wsi_vit.slides.read_path import (
    ReadPath,
    choose_path,
    own_tiles,
    own_tilings,
    work_of,
)
from wsi_vit.slides.readers.planes import planes_of
from wsi_vit.slides.readers.reader import Level


def pyramid(
    width: int, height: int, tile: int = 256, steps: tuple[float, ...] = (1.0, 4.0)
) -> tuple[list[Level], list[StoredLevel | None]]:
    """Return levels of JPEG tiles; tile n of level 0 has n + 1 bytes."""
    levels, stored = [], list[StoredLevel | None]()
    for step in steps:
        wide, high = int(width / step), int(height / step)
        count = -(-wide // tile) * -(-high // tile)
        levels.append(
            Level(width=wide, height=high, downsample=step, tile_width=tile, tile_height=tile)
        )
        stored.append(
            StoredLevel(
                path=Path("slide.svs"), width=wide, height=high, tile_width=tile, tile_height=tile,
                tables=b"",
                offsets=np.zeros(count, np.int64), counts=np.arange(1, count + 1), colour="YCbCr",
            )
        )  # fmt: skip
    return levels, stored


def path_of(tile_px: int, mpp: float, *, jpeg: bool = True, **more: float) -> tuple[str, int, int]:
    """Return the path of a recipe on a slide of 0.25 µm/px with tiles of 256 px."""
    levels, stored = pyramid(8192, 4096)
    stored = stored if jpeg else [None, None]
    section = GridSection(tile_px=tile_px, mpp=mpp, **more)  # type: ignore[arg-type]
    grid = plan_grid((8192, 4096), Mpp(0.25), section, own_tilings(levels, stored))
    planes = planes_of(levels, [item is not None for item in stored])
    path = choose_path(grid, levels, stored, planes)
    return path.kind, path.level, path.factor


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        pytest.param((256, 0.25), ("copied", 0, 1), id="the slide's own tiles"),
        pytest.param((256, 0.252), ("copied", 0, 1), id="within the tolerance"),
        pytest.param((256, 1.0), ("copied", 1, 1), id="a coarser level's own tiles"),
        pytest.param((512, 0.25), ("decoded", 0, 1), id="larger tiles"),
        pytest.param((256, 0.26), ("decoded", 0, 1), id="beyond the tolerance"),
        pytest.param((256, 0.5), ("decoded", 0, 2), id="half resolution"),
        pytest.param((256, 0.37), ("decoded", 0, 1), id="between"),
        pytest.param((224, 2.0), ("decoded", 1, 2), id="half of a coarser level"),
    ],
)
def test_the_path_is_the_cheapest_that_gives_what_is_asked(
    recipe: tuple[int, float], expected: tuple[str, int, int]
) -> None:
    assert path_of(*recipe) == expected


def test_other_recipes_and_other_slides_take_other_paths() -> None:
    assert path_of(256, 0.252, mpp_tolerance=0.0)[0] == "decoded"
    assert path_of(256, 0.25, overlap=0.5)[0] == "decoded"
    assert path_of(256, 0.25, jpeg=False)[0] == "region"
    assert path_of(256, 0.5, jpeg=False) == ("region", 0, 1)


def test_work_is_counted_tile_by_tile() -> None:
    levels, stored = pyramid(1024, 512)
    own = TileGrid(tile_px=256, side=256.0, stride=256.0, columns=4, rows=2)
    half = TileGrid(tile_px=256, side=512.0, stride=512.0, columns=2, rows=1)
    wanted = [Region(256, 0, 256, 256), Region(0, 256, 256, 256)]

    copied = work_of(ReadPath(kind="copied", level=0), own, wanted, levels[0], stored[0])
    decoded = work_of(
        ReadPath(kind="decoded", level=0, factor=2),
        half, [Region(512, 0, 512, 512)], levels[0], stored[0],
    )  # fmt: skip
    region = work_of(ReadPath(kind="region", level=0), half, wanted, levels[0], None)

    assert (copied.tiles, copied.copied, copied.stored, copied.read_bytes) == (2, 2, 0, 2 + 5)
    assert (decoded.copied, decoded.stored, decoded.read_bytes) == (0, 4, 3 + 4 + 7 + 8)
    assert (region.tiles, region.read_bytes) == (2, 0)
    assert copied.cpu_s < decoded.cpu_s / 10 < region.cpu_s / 10


def test_a_tile_that_leaves_the_slide_is_not_its_own() -> None:
    _levels, stored = pyramid(600, 300)
    assert stored[0]
    grid = plan_grid((600, 300), Mpp(1.0), GridSection(tile_px=256, mpp=1.0, edge="pad"))

    own = own_tiles(grid, boxes_of(list(grid.regions())), stored[0])

    assert own.tolist() == [0, 1, -1, -1, -1, -1]


SIZES = st.integers(200, 1500)


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(SIZES, SIZES),
    mpp=st.sampled_from([0.25, 0.2525, 0.5, 0.499, 1.0]),
    asked=st.sampled_from([0.25, 0.37, 0.5, 0.74, 1.0, 2.0]),
    tile=st.sampled_from([64, 100, 128]),
    stored_px=st.sampled_from([64, 128, 240]),
)
def test_a_plan_agrees_with_a_slow_reference(
    size: tuple[int, int], mpp: float, asked: float, tile: int, stored_px: int
) -> None:
    levels, stored = pyramid(*size, tile=stored_px, steps=(1.0,))
    behind = stored[0]
    assert behind
    section = GridSection(tile_px=tile, mpp=asked)
    grid = plan_grid(size, Mpp(mpp), section, own_tilings(levels, stored))
    path = choose_path(grid, levels, stored, planes_of(levels, [True]))
    regions = list(grid.regions())
    work = work_of(path, grid, regions, levels[0], behind)

    own = tile == stored_px and abs(mpp / asked - 1) <= 0.01
    side = Fraction(tile) if own else Fraction(tile) * Fraction(asked) / Fraction(mpp)
    columns, rows = (_fits(length, side) for length in size)
    assert (path.kind == "copied") == own
    assert (grid.columns, grid.rows) == (columns, rows)
    for number, region in enumerate(regions):
        assert region.x == pytest.approx(float(number % columns * side), abs=1e-6)
        assert region.y == pytest.approx(float(number // columns * side), abs=1e-6)
    under = _under(size, side, columns, rows, stored_px)
    assert work.read_bytes == sum(int(behind.counts[index]) for index in under)
    assert (work.copied, work.stored) == ((len(regions), 0) if own else (0, len(under)))


def _fits(length: int, side: Fraction) -> int:
    """Count tiles one after the other."""
    count = 0
    while (count + 1) * side <= length + Fraction(1, 10**6):
        count += 1
    return count


def _under(
    size: tuple[int, int], side: Fraction, columns: int, rows: int, stored_px: int
) -> set[int]:
    """Return the stored tiles under a grid's tiles, comparing each with each."""
    across = -(-size[0] // stored_px)
    reach = columns * side - Fraction(1, 10**6), rows * side - Fraction(1, 10**6)
    return {
        row * across + column
        for row in range(math.ceil(size[1] / stored_px))
        for column in range(across)
        if column * stored_px < reach[0] and row * stored_px < reach[1]
    }


def test_the_nearest_of_the_slides_own_tilings_is_taken() -> None:
    stored = [StoredTiling(256, 1.0), StoredTiling(256, 1.004), StoredTiling(128, 1.001)]

    grid = plan_grid((4096, 4096), Mpp(0.25), GridSection(tile_px=256, mpp=0.2507), stored)

    assert grid.side == pytest.approx(256 * 1.004)
