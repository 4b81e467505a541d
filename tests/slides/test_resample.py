import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_vit.slides.resample import resample


def row(values: list[int]) -> np.ndarray:
    return np.repeat(np.array([values], np.uint8)[..., None], 4, axis=2)


def test_half_a_pixel_further_is_the_mean_of_two() -> None:
    out = resample(row([0, 100, 200]), start=(0.5, 0), step=(1, 1), size=(2, 1))

    assert out[0, :, 0].tolist() == [50, 150]


def test_a_factor_of_two_and_a_half_counts_shares_of_pixels() -> None:
    out = resample(row([10, 20, 30, 40, 50]), start=(0, 0), step=(2.5, 1), size=(2, 1))

    assert out[0, :, 0].tolist() == [18, 42]  # (10 + 20 + 15) / 2.5 and (15 + 40 + 50) / 2.5


def test_the_same_grid_gives_the_same_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)

    assert np.array_equal(resample(image, start=(2, 1), step=(1, 1), size=(4, 5)), image[1:6, 2:6])


@settings(max_examples=60, deadline=None)
@given(
    start=st.floats(0, 3),
    step=st.floats(1, 4),
    size=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_shrinking_agrees_with_the_integral_of_each_pixel(
    start: float, step: float, size: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (1, 30, 4), np.uint8)

    out = resample(image, start=(start, 0), step=(step, 1), size=(size, 1))

    integral = np.concatenate([[0], image[0, :, 0].cumsum()])
    edges = np.interp(start + step * np.arange(size + 1), np.arange(31), integral)
    assert out[0, :, 0] == pytest.approx(np.diff(edges) / step, abs=0.51)


def test_enlarging_moves_nothing() -> None:
    out = resample(row([0, 0, 200, 200]), start=(0, 0), step=(0.5, 1), size=(8, 1))

    assert out[0, :, 0].tolist() == [0, 0, 0, 50, 150, 200, 200, 200]
