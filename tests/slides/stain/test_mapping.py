"""Slides brought to a target: the same tissue, stained twice, comes out alike."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tests.slides.stain.making import GLASS, STAINS, mixed, unit
from wsi_vit.slides.stain.fit import fit_stains
from wsi_vit.slides.stain.mapping import map_to
from wsi_vit.slides.stain.section import AnyStain, MacenkoStain, NoStain, StainTarget


def test_two_slides_of_one_tissue_look_alike_afterwards() -> None:
    pictures = [mixed(STAINS["ruifrok"]), mixed(STAINS["pale red"], glass=GLASS - 12)]
    before = np.abs(pictures[0].astype(int) - pictures[1]).mean()
    mapped = []
    for picture, glass in zip(pictures, (GLASS, GLASS - 12), strict=True):
        found = map_to(fit_stains(picture, glass), StainTarget())
        assert found is not None
        mapped.append(found.apply(picture).astype(int))
    after = np.abs(mapped[0] - mapped[1]).mean()
    assert after < 0.25 * before


def test_a_slide_in_the_targets_stains_keeps_its_colours() -> None:
    pixels = mixed(STAINS["reference"])
    fit = fit_stains(pixels, GLASS)
    assert fit.haematoxylin and fit.eosin and fit.amounts
    own = StainTarget(
        haematoxylin=fit.haematoxylin, eosin=fit.eosin, amounts=fit.amounts, glass=fit.glass
    )
    found = map_to(fit, own)
    assert found is not None
    assert np.abs(found.apply(pixels).astype(int) - pixels).max() <= 1


def test_glass_becomes_the_targets_glass_and_black_stays_dark() -> None:
    found = map_to(fit_stains(mixed(STAINS["blue"]), GLASS), StainTarget())
    assert found is not None
    glass, black = found.apply(np.array([GLASS.astype(np.uint8), np.zeros(3, np.uint8)]))
    assert np.abs(glass.astype(int) - 245).max() <= 1
    assert black.max() < 30


def test_pure_stains_become_the_targets_stains() -> None:
    target = StainTarget()
    pixels = mixed(STAINS["ruifrok"])
    fit = fit_stains(pixels, GLASS)
    found = map_to(fit, target)
    assert found is not None and fit.stains is not None and fit.amounts is not None
    density = fit.stains * np.array(fit.amounts)[:, None]
    out = found.apply((GLASS * 10**-density).round().astype(np.uint8))
    wanted = 245 * 10 ** -(unit((target.haematoxylin, target.eosin)) * np.c_[list(target.amounts)])
    np.testing.assert_allclose(out, wanted, atol=3)


def test_an_image_of_any_shape_is_mapped_pixel_by_pixel_and_left_alone() -> None:
    found = map_to(fit_stains(mixed(STAINS["blue"]), GLASS), StainTarget())
    assert found is not None
    image = mixed(STAINS["blue"], count=24).reshape(4, 6, 3)
    kept = image.copy()
    mapped = found.apply(image)
    assert mapped.dtype == np.uint8
    assert mapped.shape == image.shape
    np.testing.assert_array_equal(mapped.reshape(-1, 3), found.apply(image.reshape(-1, 3)))
    np.testing.assert_array_equal(image, kept)


def test_a_recipe_says_none_or_macenko_with_its_target() -> None:
    union = TypeAdapter[NoStain | MacenkoStain](AnyStain)
    assert union.validate_python({"kind": "none"}) == NoStain()
    given = union.validate_python({"kind": "macenko", "target": {"glass": [250, 250, 250]}})
    assert isinstance(given, MacenkoStain)
    assert given.target.glass == (250, 250, 250)
    assert union.validate_json(given.model_dump_json()) == given


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"amounts": [0.0, 0.4]}, "greater than 0"),
        ({"amounts": [float("nan"), 0.4]}, "less than or equal to 5"),
        ({"haematoxylin": [0.1, 0.9, 0.3], "eosin": [0.6, 0.7, 0.3]}, "absorb more red"),
        ({"haematoxylin": [0.6, 0.7, 0.3], "eosin": [0.6, 0.7, 0.3]}, "absorb more red"),
        ({"eosin": [0, 0, 0]}, "absorb more red"),
        ({"glass": [0, 240, 240]}, "greater than 0"),
    ],
)
def test_a_target_that_is_none_is_refused(target: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        StainTarget.model_validate(target)
