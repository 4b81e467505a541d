import numpy as np
import pytest
from scipy import ndimage

from tests.slides.making import tissue_like
from wsi_vit.slides.quality.blur import BLOCK_BINS, BLURRED, Texture

Pixels = np.ndarray


def texture_of(fine: Pixels) -> Texture:
    """Measure a picture of fine pixels as one block; its sides are whole bins."""
    rows, columns = (side // 2 for side in fine.shape[:2])
    texture = Texture.over(rows, columns)
    texture.add((slice(0, rows), slice(0, columns)), fine)
    return texture


def blur_of(fine: Pixels) -> float:
    """Return the blur of a whole picture."""
    texture = texture_of(fine)
    rows, columns = texture.sums.shape[2:]
    weights = np.ones((rows, columns), np.float32)
    box = np.array([[0.0, 0.0, columns * 4.0, rows * 4.0]])
    return float(texture.blur(weights, 1.0, box)[0])


def focused(width: int, height: int) -> Pixels:
    """Return something like tissue in focus at 4 µm/px: nuclei are one or two pixels wide."""
    return np.ascontiguousarray(tissue_like(4 * width, 4 * height)[::4, ::4])


def blurred(fine: Pixels, sigma: float) -> Pixels:
    return ndimage.gaussian_filter(fine, (sigma, sigma, 0))


def papers_formula(fine: Pixels) -> float:
    """Crété et al. 2007, by convolution; of pixels that the nine of the blur lie around."""
    density = -np.log10((fine[..., 1] + 1.0) / 256)
    stays = []
    for axis in (0, 1):
        along = np.moveaxis(density, axis, -1)
        smooth = ndimage.uniform_filter1d(along, 9, axis=-1)
        found, after = np.abs(np.diff(along)), np.abs(np.diff(smooth))
        lost = np.maximum(found - after, 0)
        inside = slice(4, -4)
        stays.append(1 - lost[:, inside].sum() / found[:, inside].sum())
    return max(stays)


def test_the_blur_is_that_of_the_paper() -> None:
    picture = focused(96, 64)

    assert blur_of(picture) == pytest.approx(papers_formula(picture), abs=1e-5)


def test_what_is_blurred_more_has_more_blur() -> None:
    picture = focused(256, 256)

    found = [blur_of(blurred(picture, sigma)) for sigma in (0, 0.5, 1, 2, 4)]

    assert found == sorted(found)
    assert found[0] < BLURRED < found[3]


@pytest.mark.parametrize("strength", [0.5, 1.5])
def test_the_strength_of_the_stain_changes_nothing(strength: float) -> None:
    picture = focused(256, 256)
    paler = 256 * (((picture + 1.0) / 256) ** strength) - 1

    assert blur_of(paler.round().astype(np.uint8)) == pytest.approx(blur_of(picture), abs=0.01)


def test_motion_along_one_axis_is_blur() -> None:
    picture = focused(256, 256)

    assert blur_of(ndimage.gaussian_filter(picture, (0, 3, 0))) > blur_of(picture) + 0.2


def test_nothing_is_said_of_what_has_no_texture() -> None:
    flat = np.full((64, 64, 3), 240, np.uint8)
    lines = flat.copy()
    lines[:, ::7] = 100

    assert np.isnan(blur_of(flat))
    assert not np.isnan(blur_of(lines)), "one axis is enough"


def test_a_map_tells_the_blurred_half_from_the_sharp_one() -> None:
    picture = focused(256, 192)
    picture[:, 128:] = blurred(picture, 3)[:, 128:]
    texture = texture_of(picture)

    found = texture.blur_map(np.ones(texture.sums.shape[2:], np.float32))

    assert found.shape == (192 // 8 // BLOCK_BINS, 256 // 8 // BLOCK_BINS)
    assert found[:, :4].max() < BLURRED < found[:, 4:].min()


def test_glass_with_its_noise_does_not_count_beside_tissue() -> None:
    picture = blurred(focused(128, 128), 3)
    noise = np.random.default_rng(0).integers(238, 247, (128, 128, 3)).astype(np.uint8)
    both = np.hstack([picture, noise])
    texture = texture_of(both)
    weights = np.ones(texture.sums.shape[2:], np.float32)
    weights[:, weights.shape[1] // 2 :] = 0

    found = texture.blur(weights, 1.0, np.array([[0.0, 0.0, 128.0, 64.0]]))[0]

    assert found == pytest.approx(blur_of(picture), abs=0.02)


def test_blocks_give_what_the_whole_gives_but_for_their_edges() -> None:
    picture = focused(256, 128)
    texture = Texture.over(64, 128)
    texture.add((slice(0, 64), slice(0, 64)), picture[:, :128])
    texture.add((slice(0, 64), slice(64, 128)), picture[:, 128:])

    found = texture.blur(np.ones((16, 32), np.float32), 1.0, np.array([[0.0, 0.0, 128.0, 64.0]]))[0]

    assert found == pytest.approx(blur_of(picture), abs=0.01)
