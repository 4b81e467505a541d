import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_vit.geometry import Mpp, Region
from wsi_vit.slides.grid import GridSection, TileGrid, plan_grid


def corners(grid: TileGrid) -> list[tuple[float, float]]:
    return [(region.x, region.y) for region in grid.regions()]


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [
        pytest.param((4, 4), "drop", [(0, 0), (2, 0), (0, 2), (2, 2)], id="exact fit"),
        pytest.param((5, 4), "drop", [(0, 0), (2, 0), (0, 2), (2, 2)], id="ragged right edge"),
        pytest.param((5, 2), "pad", [(0, 0), (2, 0), (4, 0)], id="padded right edge"),
        pytest.param((4, 2), "pad", [(0, 0), (2, 0)], id="nothing to pad"),
        pytest.param((1, 9), "drop", [], id="slide narrower than a tile"),
        pytest.param((1, 1), "pad", [(0, 0)], id="slide smaller than a tile, padded"),
    ],
)
def test_tiles_lie_where_a_person_would_put_them(
    size: tuple[int, int], edge: str, expected: list[tuple[int, int]]
) -> None:
    section = GridSection.model_validate({"tile_px": 2, "mpp": 0.5, "edge": edge})

    assert corners(plan_grid(size, Mpp(0.5), section)) == expected


def test_neighbours_share_the_overlap() -> None:
    grid = plan_grid((10, 4), Mpp(1.0), GridSection(tile_px=4, mpp=1.0, overlap=0.25))

    assert corners(grid) == [(0, 0), (3, 0), (6, 0)]


def test_a_resolution_that_is_no_multiple_keeps_its_fraction() -> None:
    grid = plan_grid((2220, 2967), Mpp(0.499), GridSection(tile_px=224, mpp=0.5))

    assert grid.side == pytest.approx(224 * 0.5 / 0.499, rel=1e-12)
    assert (grid.columns, grid.rows, len(grid)) == (9, 13, 117)
    assert list(grid.regions())[10] == Region(grid.stride, grid.stride, grid.side, grid.side)


def test_a_tile_that_fits_but_for_a_rounding_error_is_kept() -> None:
    grid = plan_grid((3, 3), Mpp(0.1), GridSection(tile_px=1, mpp=0.1 * 3 / 3))

    assert grid.columns == 3


def slow_count(length: int, side: float, stride: float, edge: str) -> int:
    """Walk along the axis, one tile after the other."""
    count = 0
    while count * stride + side <= length + 1e-6:
        count += 1
    covered = (count - 1) * stride + side if count else 0.0
    if edge == "pad" and covered < length - 1e-6:
        count += 1
    return count


@settings(max_examples=200, deadline=None)
@given(
    length=st.integers(1, 3000),
    tile_px=st.integers(8, 512),
    native=st.sampled_from([0.1721, 0.25, 0.325, 0.499, 1.0]),
    mpp=st.sampled_from([0.5, 1.0, 1.3]),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5]),
    edge=st.sampled_from(["drop", "pad"]),
)
def test_the_arithmetic_agrees_with_a_walk_along_the_slide(
    length: int, tile_px: int, native: float, mpp: float, overlap: float, edge: str
) -> None:
    section = GridSection.model_validate(
        {"tile_px": tile_px, "mpp": mpp, "overlap": overlap, "edge": edge}
    )

    grid = plan_grid((length, length), Mpp(native), section)

    assert grid.columns == grid.rows == slow_count(length, grid.side, grid.stride, edge)
