"""The stains of slides: known ones are found again, in place of glass nothing is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.slides.making import write_tiff, zero_tile
from tests.slides.stain.making import unit
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.stain.fit import StainFit
from wsi_vit.slides.stain.sampling import fit_slide
from wsi_vit.slides.stain.section import MacenkoStain
from wsi_vit.slides.stain.separation import degrees_between
from wsi_vit.slides.stain.stage import SlideStain, stain_slide
from wsi_vit.slides.synthetic import SyntheticSection
from wsi_vit.slides.synthetic.cohort import synthesise_slide
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tissue.mask import TissueSection
from wsi_vit.store import Store

SMALL = SyntheticSection(width_px=1536, height_px=1024, slides_per_patient=1, pen_share=0.0)
TISSUE = TissueSection()
ANGLES = (3.0, 9.0)
"""Degrees; all that is pink holds some haematoxylin too, so no pixel shows what eosin alone is."""


@dataclass(frozen=True)
class Known:
    path: Path
    stains: np.ndarray
    glass: np.ndarray


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    made = synthesise_slide(seed=3, number=1, section=SMALL)
    path = tmp_path_factory.mktemp("slides") / "known.tif"
    write_tiff(path, made.picture, mpp=0.5, compression="deflate")
    return Known(path, unit(made.stain.vectors), made.stain.glass)


def fitted(path: Path, section: MacenkoStain | None = None) -> StainFit:
    with open_slide(path) as slide:
        return fit_slide(slide, section or MacenkoStain(), TISSUE)


def test_the_stains_that_a_slide_was_painted_with_are_found(known: Known) -> None:
    fit = fitted(known.path)
    assert fit.outcome == "fitted"
    assert fit.stains is not None
    off = [degrees_between(*pair) for pair in zip(fit.stains, known.stains, strict=True)]
    assert off[0] < ANGLES[0] and off[1] < ANGLES[1]
    assert fit.glass == pytest.approx(known.glass, abs=4)


def test_the_same_seed_gives_the_same_fit_and_another_one_nearly_so(known: Known) -> None:
    few = MacenkoStain(patches=8)
    first, again = fitted(known.path, few), fitted(known.path, few)
    other = fitted(known.path, MacenkoStain(patches=8, seed=1))
    assert first == again
    assert first != other
    assert first.stains is not None and other.stains is not None
    assert all(degrees_between(*pair) < 4 for pair in zip(first.stains, other.stains, strict=True))


def test_a_slide_without_tissue_is_flagged_and_no_error(tmp_path: Path) -> None:
    glass = np.full((512, 512, 3), 242, np.uint8)
    fit = fitted(write_tiff(tmp_path / "glass.tif", glass))
    assert fit.outcome == "too_little_stain"
    assert fit.pixels == 0


def test_places_that_cannot_be_read_are_left_out(known: Known, tmp_path: Path) -> None:
    copy = tmp_path / "damaged.tif"
    copy.write_bytes(known.path.read_bytes())
    whole = fitted(known.path)
    for index in range(150, 200):
        zero_tile(copy, index)
    damaged = fitted(copy)
    assert damaged.outcome == "fitted"
    assert damaged.pixels < whole.pixels


def test_a_fit_is_kept_and_made_anew_only_when_something_shapes_it(
    known: Known, tmp_path: Path
) -> None:
    from wsi_vit.slides.grid import GridSection

    tiles = TilesSection(grid=GridSection(tile_px=64, mpp=1.0))
    store = Store(tmp_path)

    def stained(section: MacenkoStain, tiles: TilesSection = tiles) -> tuple[bool, str]:
        found = stain_slide(known.path, mpp=None, section=section, tiles=tiles, store=store)
        assert SlideStain.model_validate(found.facts).fit.outcome == "fitted"
        return found.reused, found.digest

    few = MacenkoStain(patches=8)
    reused, digest = stained(few)
    assert not reused
    assert stained(few) == (True, digest)
    other_grid = TilesSection(grid=GridSection(tile_px=128, mpp=2.0))
    assert stained(few, other_grid) == (True, digest), "the grid shapes no stain"
    assert not stained(MacenkoStain(patches=9))[0]


@pytest.mark.real
def test_the_stains_of_a_real_colon_slide_are_told(real_data: Path) -> None:
    path = real_data / "wsi-colon/P2_0039_section1_half.tif"
    with open_slide(path, mpp=1.0) as slide:
        fit = fit_slide(slide, MacenkoStain(patches=24), TISSUE)
    assert fit.outcome == "fitted"
    assert fit.stains is not None
    assert 10 < degrees_between(*fit.stains) < 50
