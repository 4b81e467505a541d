"""The map's grid: rational, never rounded, and stripes that fill it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_vit.prediction.canvas import SHARD_PX, Canvas, stripes


def canvas(*, width: int = 1000, height: int = 700, step: float = 2.7, patch: int = 64) -> Canvas:
    return Canvas(step=step, plane=(width, height), mpp=0.25, patch_px=patch, stride_px=patch)


@given(st.integers(1, 10**6), st.floats(0.3, 64))
def test_the_map_covers_the_plane_and_not_a_pixel_more(width: int, step: float) -> None:
    grid = canvas(width=width, step=step)

    assert grid.width_px * step >= width * (1 - 1e-6)
    assert (grid.width_px - 1) * step < width


@given(st.integers(1, 5000), st.floats(0.5, 40))
def test_shares_add_up_to_the_plane(width: int, step: float) -> None:
    grid = canvas(width=width, step=step)
    shares = grid.shares(0, grid.width_px, axis=0)

    assert shares.sum() * step == pytest.approx(width)
    assert ((shares >= 0) & (shares <= 1 + 1e-9)).all()


@given(st.integers(1, 60_000), st.integers(32, 512))
def test_stripes_fill_the_map_once_and_end_on_shards(width: int, memory_mb: int) -> None:
    grid = canvas(width=width, step=1.0, patch=512)
    cut = list(stripes(grid, classes=5, memory_mb=memory_mb))

    assert cut[0].left == 0
    assert cut[-1].right == grid.width_px
    assert all(one.right == other.left for one, other in pairwise(cut))
    assert all(stripe.left % SHARD_PX == 0 for stripe in cut)


def test_a_wide_slide_is_cut_and_a_narrow_one_is_not() -> None:
    few = list(stripes(canvas(width=5000, step=1.0), classes=3, memory_mb=512))
    many = list(stripes(canvas(width=500_000, step=1.0, patch=512), classes=9, memory_mb=256))

    assert len(few) == 1
    assert len(many) > 20
    held = 4 * 10 * (512 + 2 * 512) + 10 * (SHARD_PX + 512)
    assert max(s.right - s.left for s in many) * held <= 256e6


def test_pixels_are_measured_in_micrometres() -> None:
    grid = canvas(step=4.0)

    assert grid.pixel_um == 1.0
    assert np.isclose(grid.shares(249, 1, axis=0)[0], 1.0)
