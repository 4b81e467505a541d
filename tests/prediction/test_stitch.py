"""Blending: what goes in constant comes out constant, and bands change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsi_vit.prediction.stitch import BandBlender, gaussian_window


def blended(
    tiles: NDArray[np.float32], width: int, stride: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Blend (rows, columns, classes, side, side) band by band."""
    classes, side = tiles.shape[2:4]
    blender = BandBlender(classes=classes, width_px=width, tile_px=side)
    bands = []
    for index, row in enumerate(tiles):
        for column, tile in enumerate(row):
            blender.add(tile, left=column * stride)
        bands.append(blender.advance(stride if index + 1 < len(tiles) else side))
    scores = np.concatenate([band.scores for band in bands], axis=1)
    return scores, np.concatenate([band.is_covered for band in bands])


def naive(tiles: NDArray[np.float32], width: int, stride: int) -> NDArray[np.float64]:
    """Accumulate everything at once, in double precision."""
    rows, columns, classes, side = tiles.shape[:4]
    total = np.zeros((classes, (rows - 1) * stride + side, (columns - 1) * stride + side))
    weight = np.zeros(total.shape[1:])
    window = gaussian_window(side).astype(np.float64)
    for row in range(rows):
        for column in range(columns):
            area = (
                slice(row * stride, row * stride + side),
                slice(column * stride, column * stride + side),
            )
            total[:, *area] += tiles[row, column] * window
            weight[area] += window
    return (total / weight)[:, :, :width]


shapes = st.tuples(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(2, 16), st.floats(0, 0.6)
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**31))
def test_bands_give_what_one_big_accumulator_gives(
    shape: tuple[int, int, int, int, float], seed: int
) -> None:
    rows, columns, classes, side, overlap = shape
    stride = max(1, round(side * (1 - overlap)))
    rng = np.random.default_rng(seed)
    tiles = rng.random((rows, columns, classes, side, side), np.float32)
    width = int(rng.integers(1, (columns - 1) * stride + side + 1))

    scores, covered = blended(tiles, width, stride)

    assert covered.all()
    np.testing.assert_allclose(scores, naive(tiles, width, stride), atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(shapes, st.floats(0, 1, width=32))
def test_constant_scores_stay_constant(
    shape: tuple[int, int, int, int, float], value: float
) -> None:
    rows, columns, classes, side, overlap = shape
    stride = max(1, round(side * (1 - overlap)))
    tiles = np.full((rows, columns, classes, side, side), value, np.float32)

    scores, _ = blended(tiles, (columns - 1) * stride + side, stride)

    np.testing.assert_allclose(scores, value, atol=1e-6)


def test_where_no_tile_lies_nothing_is_covered() -> None:
    blender = BandBlender(classes=1, width_px=12, tile_px=4)
    blender.add(np.ones((1, 4, 4), np.float32), left=8)
    band = blender.advance(4)

    assert not band.is_covered[:, :8].any()
    assert band.is_covered[:, 8:].all()
    assert (band.scores[:, :, :8] == 0).all()


def test_a_tile_is_cut_off_at_both_sides() -> None:
    blender = BandBlender(classes=1, width_px=3, tile_px=4)
    ramp = np.tile(np.arange(4, dtype=np.float32), (1, 4, 1))
    blender.add(ramp, left=-2)
    blender.add(ramp, left=2)
    blender.add(ramp, left=40)

    np.testing.assert_allclose(blender.advance(4).scores[0, 0], [2, 3, 0])


def test_the_window_is_a_gaussian_of_a_quarter_of_the_side() -> None:
    window = gaussian_window(64)
    middle = window[31:33, 31:33].mean()

    assert middle == pytest.approx(1, abs=0.01)
    assert window[31, 31 + 16] / window[31, 31] == pytest.approx(np.exp(-0.5), rel=0.1)
    assert window.min() > 0
    assert gaussian_window(1).tolist() == [[1.0]]


@pytest.mark.parametrize("rows", [0, -1, 5])
def test_gaps_between_tiles_and_standing_still_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="leave gaps or do not move"):
        BandBlender(classes=1, width_px=8, tile_px=4).advance(rows)


def test_rows_of_tiles_may_lie_at_uneven_distances() -> None:
    blender = BandBlender(classes=1, width_px=4, tile_px=4)
    ramps = [np.arange(top, top + 4, dtype=np.float32)[None, :, None] for top in (0, 3, 4)]
    rows = []
    for ramp, following in zip(ramps, (3, 1, 4), strict=True):
        blender.add(np.broadcast_to(ramp, (1, 4, 4)), left=0)
        rows.append(blender.advance(following).scores[0, :, 0])

    np.testing.assert_allclose(np.concatenate(rows), np.arange(8), atol=1e-6)
