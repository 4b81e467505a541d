"""What is measured of tiles points at the right ones, whatever way the tiles are got."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.slides.making import tissue_like, write_tiff
from tests.slides.quality.making import BLURRED_FROM, TILE, troubled_slide
from wsi_vit.errors import Reason, SlideError
from wsi_vit.slides.quality.blur import BLURRED
from wsi_vit.slides.quality.survey import survey_slide
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilePlan, TilesSection, plan_tiles
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.slides.tissue.mask import TissueSection
from wsi_vit.store import Store


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return troubled_slide(tmp_path_factory.mktemp("slide") / "a.tif")


def section(**quality: float) -> TilesSection:
    grid = {"tile_px": TILE, "mpp": 1.0, "min_tissue": 0.2}
    return TilesSection.model_validate({"grid": grid, "quality": quality})


def planned(path: Path, **quality: float) -> TilePlan:
    with open_slide(path) as slide:
        return plan_tiles(slide, section(**quality))


def by_place(plan: TilePlan, name: str) -> dict[tuple[int, int], float]:
    values = getattr(plan.measures, name).tolist()
    places = [(int(r.x) // TILE, int(r.y) // TILE) for r in plan.regions]
    return dict(zip(places, values, strict=True))


@pytest.fixture(scope="module")
def plan(slide_file: Path) -> TilePlan:
    return planned(slide_file)


def test_the_tiles_of_the_blurred_half_are_the_blurred_ones(plan: TilePlan) -> None:
    found = by_place(plan, "blur")
    sharp = [value for (x, _), value in found.items() if x < 3]
    soft = [value for (x, _), value in found.items() if x * TILE >= BLURRED_FROM]

    assert max(sharp) < BLURRED < min(soft)
    assert len(soft) == 20


def test_ink_is_where_it_was_drawn(plan: TilePlan) -> None:
    found = by_place(plan, "pen")
    marked = {(3, 2), (3, 3), (3, 4)}

    assert all(0.2 < found[place] < 0.8 for place in marked & set(found))
    assert max(value for place, value in found.items() if place not in marked) < 0.25
    assert sum(value for (x, _), value in found.items() if x > 4 or x < 2) == 0


def test_a_fold_is_where_it_lies(plan: TilePlan) -> None:
    found = by_place(plan, "dark")

    assert found.pop((1, 4)) > 0.8
    assert max(found.values()) < 0.05


def test_a_lumen_is_glass_though_it_counts_as_tissue(plan: TilePlan) -> None:
    found = by_place(plan, "glass")
    tissue = dict(zip(found, plan.tissue.tolist(), strict=True))

    assert 0.3 < found.pop((1, 2)) < 0.5
    assert tissue[1, 2] > 0.9
    assert max(found.values()) < 0.1


def test_limits_leave_out_what_breaks_them_and_say_how_many(
    slide_file: Path, plan: TilePlan
) -> None:
    limited = planned(slide_file, max_blur=BLURRED, max_dark=0.5)
    kept = {(int(r.x) // TILE, int(r.y) // TILE) for r in limited.regions}

    assert max(x for x, _ in kept) * TILE < BLURRED_FROM
    assert (1, 4) not in kept
    assert limited.left_out == {"blur": len(plan.regions) - len(kept) - 1, "dark": 1}
    assert len(limited.measures.blur) == len(limited.tissue) == len(kept)


def test_limits_that_leave_nothing_quarantine_the_slide(slide_file: Path) -> None:
    with pytest.raises(SlideError, match="max_glass") as caught:
        planned(slide_file, max_glass=0.0, max_blur=0.01)

    assert caught.value.reason is Reason.LOW_QUALITY


@pytest.mark.parametrize("tile_px, quality", [(TILE, None), (96, float)], ids=["copied", "encoded"])
def test_the_shard_holds_the_measures_of_the_plan(
    slide_file: Path, tmp_path: Path, tile_px: int, quality: Any
) -> None:
    chosen = TilesSection.model_validate({"grid": {"tile_px": tile_px, "mpp": 1.0}})
    made = tile_slide(SlideInput(slide_file), section=chosen, store=Store(tmp_path))
    with open_slide(slide_file) as slide:
        measures = plan_tiles(slide, chosen).measures.columns()
    with pa.memory_map(str(made.folder / "tiles.arrow")) as source:
        table = pa.ipc.open_stream(source).read_all()

    for name, values in measures.items():
        assert table.schema.field(name).type == pa.float32()
        assert np.array_equal(table[name].to_numpy(), values)
    assert (made.facts["copied"] > 0) == (quality is None)
    assert (table["quality"].null_count == len(table)) == (quality is None)


def test_a_slide_too_coarse_for_blur_says_so_and_keeps_its_tiles(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", tissue_like(256, 192), mpp=6.0)
    chosen = TilesSection.model_validate(
        {"grid": {"tile_px": 32, "mpp": 6.0}, "quality": {"max_blur": 0.1}}
    )
    with open_slide(path) as slide:
        plan = plan_tiles(slide, chosen)

    assert np.isnan(plan.measures.blur).all()
    assert plan.left_out == {"blur": 0}
    assert (plan.quality.blur, plan.quality.blur_share) == (None, None)


def test_tissue_is_the_same_whether_read_finely_or_not(slide_file: Path) -> None:
    from wsi_vit.slides.overview import read_overview
    from wsi_vit.slides.tissue.mask import tissue_of

    with open_slide(slide_file) as slide:
        plain = tissue_of(read_overview(slide, 8.0), slide.mpp, TissueSection())
        found = survey_slide(slide, TissueSection()).mask

    assert (plain.is_tissue != found.is_tissue).mean() < 0.001
    assert (plain.is_pen != found.is_pen).mean() < 0.001


@pytest.mark.real
def test_a_real_slide_in_focus_is_in_focus_and_its_dyed_edge_is_found(real_data: Path) -> None:
    with open_slide(real_data / "wsi-colon/P2_0039_section1_half.tif", mpp=1.0) as slide:
        grid = {"tile_px": 128, "mpp": 1.0}
        plan = plan_tiles(slide, TilesSection.model_validate({"grid": grid}))

    assert np.nanmean(plan.measures.blur >= BLURRED) < 0.02
    assert plan.quality.pen_colour == "green", "tissue-marking dye along the polyp's margin"
    assert plan.quality.suspicions == ("green ink on 0.35 mm²",)
