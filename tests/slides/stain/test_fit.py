"""Stains are found again within a few degrees, and no input gives NaN or an error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.slides.stain.making import GLASS, STAINS, mixed, unit
from wsi_vit.slides.stain.fit import Outcome, fit_stains
from wsi_vit.slides.stain.mapping import map_to
from wsi_vit.slides.stain.section import StainTarget
from wsi_vit.slides.stain.separation import degrees_between


@pytest.mark.parametrize("name", STAINS)
@pytest.mark.parametrize("seed", [0, 1])
def test_known_stains_are_found_within_three_degrees(name: str, seed: int) -> None:
    fit = fit_stains(mixed(STAINS[name], seed=seed), GLASS)
    assert fit.outcome == "fitted"
    assert fit.stains is not None
    for found, known in zip(fit.stains, unit(STAINS[name]), strict=True):
        assert degrees_between(found, known) < 3


def test_the_order_of_pixels_and_what_lies_between_them_change_nothing() -> None:
    pixels = mixed(STAINS["ruifrok"])
    glass = np.tile(GLASS.astype(np.uint8), (50_000, 1))
    black = np.zeros((50_000, 3), np.uint8)
    apart = fit_stains(pixels, GLASS)
    together = fit_stains(np.concatenate([black, pixels[::-1], glass]), GLASS)
    assert together == apart


def flat(*rgb: int, noise: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(rgb, noise, (20_000, 3))
    return drawn.round().clip(0, 255).astype(np.uint8)


def shades(direction: tuple[float, float, float], noise: float = 1.0) -> np.ndarray:
    """One stain in all strengths."""
    rng = np.random.default_rng(1)
    density = rng.uniform(0, 1, (20_000, 1)) * unit(direction)
    drawn = GLASS * 10**-density + rng.normal(0, noise, (20_000, 3))
    return drawn.round().clip(0, 255).astype(np.uint8)


DEGENERATE: dict[str, tuple[np.ndarray, Outcome]] = {
    "nothing": (np.empty((0, 3), np.uint8), "too_little_stain"),
    "one pixel": (flat(120, 60, 140)[:1], "too_little_stain"),
    "glass": (flat(241, 239, 243), "too_little_stain"),
    "glass with noise": (flat(236, 236, 238, noise=3), "too_little_stain"),
    "brighter than glass": (flat(255, 255, 255), "too_little_stain"),
    "black": (flat(0, 0, 0), "too_little_stain"),
    "nearly black": (flat(5, 5, 5, noise=1), "grey"),
    "grey": (shades((1, 1, 1)), "grey"),
    "one colour": (flat(150, 60, 140), "one_stain"),
    "haematoxylin alone": (shades((0.644, 0.717, 0.267)), "one_stain"),
    "eosin alone": (shades((0.093, 0.954, 0.283)), "one_stain"),
    "red, green and blue ink": (
        np.concatenate([shades((0.1, 0.7, 0.7)), shades((0.9, 0.1, 0.4))]), "other_stains",
    ),
    "haematoxylin and DAB": (mixed(((0.644, 0.717, 0.267), (0.27, 0.57, 0.78))), "other_stains"),
}  # fmt: skip


@pytest.mark.parametrize(("pixels", "outcome"), DEGENERATE.values(), ids=DEGENERATE)
def test_what_holds_no_two_stains_is_flagged_with_its_reason(
    pixels: np.ndarray, outcome: Outcome
) -> None:
    fit = fit_stains(pixels, GLASS)
    assert fit.outcome == outcome
    assert fit.stains is None
    assert map_to(fit, StainTarget()) is None, "such a slide keeps its colours"


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(0, 40), st.just(3))),
    st.integers(1, 400),
    arrays.arrays(np.uint8, 3),
)
def test_no_pixels_and_no_glass_give_nan_or_an_error(
    pixels: np.ndarray, times: int, glass: np.ndarray
) -> None:
    many = np.tile(pixels, (times, 1))
    fit = fit_stains(many, glass.astype(np.float32))
    numbers = [*(fit.haematoxylin or ()), *(fit.eosin or ()), *(fit.amounts or ())]
    assert np.isfinite(numbers).all()
    found = map_to(fit, StainTarget())
    assert found is None or np.isfinite([*found.matrix.ravel(), *found.offset]).all()
