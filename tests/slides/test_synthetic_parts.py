"""The parts of a synthetic slide, each on its own."""

import numpy as np
import pytest

from wsi_vit.slides.synthetic import nuclei as kinds
from wsi_vit.slides.synthetic.aperio import shrink
from wsi_vit.slides.synthetic.backdrop import enlarge, flow_of
from wsi_vit.slides.synthetic.cohort import synthesise_slide
from wsi_vit.slides.synthetic.glands import Gland, make_gland
from wsi_vit.slides.synthetic.looks import CRYPT, TUMOUR_GLAND
from wsi_vit.slides.synthetic.marks import pen_stroke, sprinkle_dust
from wsi_vit.slides.synthetic.noise import smooth_field, tiling_noise
from wsi_vit.slides.synthetic.planes import RHO_ONE, Planes, press, press_turned
from wsi_vit.slides.synthetic.settings import MUCUS, NORMAL, STROMA, TUMOUR, SyntheticSection
from wsi_vit.slides.synthetic.stain import stain_of
from wsi_vit.slides.synthetic.textures import SIDE, all_textures

SMALL = SyntheticSection(width_px=1536, height_px=1024)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_smooth_field_has_no_jumps_and_about_unit_deviation(rng: np.random.Generator) -> None:
    field = smooth_field(rng, (200, 300), wavelength=20)
    assert field.shape == (200, 300)
    assert abs(field.mean()) < 0.2
    assert 0.7 < field.std() < 1.3
    assert np.abs(np.diff(field, axis=0)).max() < 0.5


def test_noise_tiles_without_a_seam(rng: np.random.Generator) -> None:
    noise = tiling_noise(rng, 128, sigma=(4, 4))
    inner = np.abs(np.diff(noise, axis=0)).max()
    assert np.abs(noise[0] - noise[-1]).max() <= 1.5 * inner
    assert (noise.min(), noise.max()) == (0, 1)


def test_unequal_blur_gives_fibres_along_x(rng: np.random.Generator) -> None:
    noise = tiling_noise(rng, 128, sigma=(1, 12))
    across, along = (np.abs(np.diff(noise, axis=axis)).mean() for axis in (0, 1))
    assert across > 5 * along


def test_two_slides_have_the_same_textures_from_other_corners(rng: np.random.Generator) -> None:
    textures = all_textures()
    assert all_textures() is textures
    turned = textures.turned(rng)
    assert turned.grain.shape == (SIDE, SIDE)
    assert not np.array_equal(turned.grain, textures.grain)
    assert turned.grain.sum() == pytest.approx(textures.grain.sum(), rel=1e-5)


def test_a_coarse_field_enlarged_keeps_its_cells_in_place() -> None:
    field = np.arange(12, dtype=np.float32).reshape(3, 4)
    whole = enlarge(field, 0, 12)
    assert whole.shape == (12, 16)
    np.testing.assert_allclose(whole.reshape(3, 4, 4, 4).mean(axis=(1, 3))[1, 1:3], field[1, 1:3])
    np.testing.assert_allclose(np.concatenate([enlarge(field, 0, 5), enlarge(field, 5, 12)]), whole)
    np.testing.assert_allclose(np.diff(whole[6, 4:12]), 0.25)


def test_fibres_that_do_not_wander_run_along_x() -> None:
    np.testing.assert_allclose(flow_of(np.zeros((5, 5), np.float32)), 0)


def test_fibres_run_where_their_warped_coordinate_stays_the_same() -> None:
    x = np.arange(40, dtype=np.float32)
    across = np.repeat(-4 * x[None, :], 40, axis=0)  # one pixel down for each pixel to the right
    np.testing.assert_allclose(flow_of(across), np.pi / 4, atol=1e-6)


@pytest.mark.parametrize("kind", [kinds.LYMPHOCYTE, kinds.CARCINOMA, kinds.FIBROBLAST])
def test_a_nucleus_is_as_large_as_its_kind_says(kind: kinds.NucleusKind) -> None:
    stamps = kinds.nucleus_stamps(kind, 2.0)
    areas = [(stamp > stamp.max() / 2).sum() / 4 for turned in stamps for stamp in turned]
    assert np.mean(areas) == pytest.approx(np.pi * kind.long_um * kind.short_um, rel=0.35)
    assert len(stamps) == kinds.ANGLES


def test_a_nucleus_points_where_its_angle_says() -> None:
    stamps = kinds.nucleus_stamps(kinds.FIBROBLAST, 2.0)
    for turn in (0, kinds.ANGLES // 2):
        rows, columns = np.nonzero(stamps[turn][0])
        is_along_x = np.ptp(columns) > np.ptp(rows)
        assert is_along_x == (turn == 0)


def test_stamps_are_cached_and_of_odd_side() -> None:
    droplets = kinds.vacuole_stamps(5.0, 2.0)
    assert kinds.vacuole_stamps(5.0, 2.0) is droplets
    assert all(drop.shape[0] == drop.shape[1] and drop.shape[0] % 2 for drop in droplets)


def test_where_two_cells_overlap_the_denser_one_stays() -> None:
    planes = Planes(64, 64)
    at = np.array([[20.0, 30.0], [20.0, 30.0]])
    press(planes.nuclei, at, [np.full((3, 3), 200, np.uint8), np.full((5, 5), 90, np.uint8)])
    seen = planes.band(planes.nuclei, 0, 64)
    assert seen[30, 20] == 200
    assert seen[32, 22] == 90
    assert (seen > 0).sum() == 25


def test_cells_across_the_edge_of_the_slide_need_no_clipping(rng: np.random.Generator) -> None:
    planes = Planes(64, 64)
    at = np.array([[0.0, 0.0], [63.0, 63.0]])
    stamps = kinds.nucleus_stamps(kinds.LYMPHOCYTE, 2.0)
    press_turned(rng, planes.nuclei, at, np.zeros(2), stamps)
    seen = planes.band(planes.nuclei, 0, 64)
    assert seen.shape == (64, 64)
    assert seen[0, 0] > 0 < seen[63, 63]


def round_gland(rng: np.random.Generator) -> Gland:
    return make_gland(rng, (100.0, 100.0), radius=40, wobble=0, stretch=(1.0, 0.0), lumen=0.5)


def test_a_gland_is_drawn_where_its_points_are_said_to_lie(rng: np.random.Generator) -> None:
    planes = Planes(200, 200)
    gland = make_gland(rng, (100.0, 90.0), radius=40, wobble=0.15, stretch=(1.2, 0.7), lumen=0.4)
    gland.draw(planes.tumour)
    turn = np.linspace(0, 2 * np.pi, 50)
    for share, expected in ((1.0, 1.0), (0.4, 0.4)):
        value = planes.at(planes.tumour, gland.point(turn, np.full(50, share)))
        np.testing.assert_allclose(value / RHO_ONE, expected, atol=0.06)


def test_a_lumen_ends_at_the_same_value_whatever_its_size(rng: np.random.Generator) -> None:
    planes = Planes(200, 200)
    lumen = round_gland(rng).draw(planes.crypts)
    assert lumen.sum() == pytest.approx(np.pi * 20**2, rel=0.03)
    seen = planes.band(planes.crypts, 0, 200)
    assert (seen < 0.4 * RHO_ONE).sum() == pytest.approx(np.pi * 20**2, rel=0.05)


def test_nuclei_of_a_round_gland_point_to_its_centre(rng: np.random.Generator) -> None:
    turn = np.linspace(0, 6, 7)
    np.testing.assert_allclose(np.tan(round_gland(rng).radial(turn)), np.tan(turn), atol=1e-6)


def test_glands_are_pale_within_and_end_outside() -> None:
    for look in (CRYPT, TUMOUR_GLAND):
        assert look.haematoxylin[0] < 0.1 < look.haematoxylin[int(0.8 * RHO_ONE)]
        assert look.cover[0] == 1
        assert look.cover[255] == 0


def test_a_site_has_one_hue_and_its_slides_differ_a_little(rng: np.random.Generator) -> None:
    first, second = stain_of(0, rng).vectors, stain_of(0, rng).vectors
    other = stain_of(1, rng).vectors
    assert 0 < np.abs(first - second).max() < 0.25
    assert np.abs(first - other).max() > 0.02
    assert (first > 0).all()


def test_a_pen_line_follows_the_edge_of_the_tissue(rng: np.random.Generator) -> None:
    tissue = np.zeros((120, 160), bool)
    tissue[30:90, 40:120] = True
    line = pen_stroke(rng, tissue, width=6)
    assert 0 <= line.min() < 0.5 < line.max() <= 1
    assert not line[50:70, 60:100].any(), "the middle of the tissue is free"
    assert not line[:8].any(), "and so is the glass far away"


def test_dust_darkens_a_little_of_the_picture(rng: np.random.Generator) -> None:
    picture = np.full((600, 800, 3), 240, np.uint8)
    sprinkle_dust(rng, picture, unit=2.0)
    darker = (picture < 235).any(axis=2).mean()
    assert 0 < darker < 0.02


def test_a_level_is_the_mean_of_four_by_four_pixels() -> None:
    picture = np.zeros((9, 10, 3), np.uint8)
    picture[:4, :4] = 200
    picture[0, 4] = 160
    level = shrink(picture)
    assert level.shape == (2, 2, 3)
    assert level[:, :, 0].tolist() == [[200, 10], [0, 0]]


def test_a_slide_is_the_same_in_a_cohort_of_any_size_and_unlike_its_neighbours() -> None:
    one, again = (synthesise_slide(seed=5, number=1, section=SMALL) for _ in range(2))
    other = synthesise_slide(seed=5, number=2, section=SMALL)
    np.testing.assert_array_equal(one.picture, again.picture)
    assert not np.array_equal(one.layout.ids, other.layout.ids)


def test_classes_differ_in_what_is_in_them() -> None:
    """Tumour holds most nuclei, mucus fewest; stroma is the pinkest: more than a mean colour."""
    slide = synthesise_slide(seed=5, number=0, section=SMALL)
    ids = np.repeat(np.repeat(slide.layout.ids, 4, axis=0), 4, axis=1)
    red, green, blue = (slide.picture[..., channel].astype(float) for channel in range(3))
    dark = {k: float((red[ids == k] < 130).mean()) for k in (TUMOUR, NORMAL, STROMA, MUCUS)}
    assert dark[TUMOUR] > dark[NORMAL] > dark[STROMA]
    assert dark[TUMOUR] > 4 * dark[MUCUS]
    pink = {k: float((red - blue)[ids == k].mean()) for k in (TUMOUR, NORMAL, STROMA, MUCUS)}
    assert max(pink, key=lambda k: pink[k]) == STROMA
    assert green.mean() < red.mean()
