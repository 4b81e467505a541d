import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.slides.making import stained, write_tiff, zero_tile
from wsi_vit.errors import Reason, SlideError
from wsi_vit.slides import tiling
from wsi_vit.slides.facts import check_slide, slide_facts
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Artefact, Store

BLOB = (128, 128, 640, 512)


def section(**changes: Any) -> TilesSection:
    grid = {"tile_px": 64, "mpp": 2.0} | changes.pop("grid", {})
    return TilesSection.model_validate({"grid": grid, **changes})


def slide_file(folder: Path, **options: Any) -> Path:
    options = {"mpp": 2.0, "compression": "jpeg", **options}
    return write_tiff(folder / "a.tif", stained(768, 640, blob=BLOB), **options)


def cut(path: Path, root: Path, chosen: TilesSection | None = None, **changes: Any) -> Artefact:
    said = {"slide_id": "a"} | {
        k: changes.pop(k) for k in ("slide_id", "mpp", "tissue_mask") if k in changes
    }
    options: dict[str, Any] = {"store": Store(root)} | changes
    return tile_slide(SlideInput(path, **said), section=chosen or section(), **options)


def rows_of(artefact: Artefact) -> list[dict[str, Any]]:
    with pa.memory_map(str(artefact.folder / "tiles.arrow")) as source:
        return pa.ipc.open_stream(source).read_all().to_pylist()


def refused(path: Path, root: Path, chosen: TilesSection | None = None, **changes: Any) -> Reason:
    with pytest.raises(SlideError) as caught:
        cut(path, root, chosen, **changes)
    assert not list(root.glob("tiles/*")), "nothing half done stays behind"
    return caught.value.reason


def test_tiles_are_the_tissue_row_by_row(tmp_path: Path) -> None:
    artefact = cut(slide_file(tmp_path), tmp_path / "store")
    rows = rows_of(artefact)

    expected = [(x, y) for y in range(128, 512, 64) for x in range(128, 640, 64)]
    assert [(row["x"], row["y"]) for row in rows] == expected
    assert artefact.facts["tiles"] == len(rows) == 48
    assert [row["mpp"] for row in rows] == pytest.approx([2.0] * 48, rel=1e-4)
    assert artefact.facts["mpp_source"] == "tiff"
    assert (artefact.folder / "thumbnail.jpg").stat().st_size > 1000


def test_a_tile_holds_the_pixels_of_its_place(tmp_path: Path) -> None:
    path = slide_file(tmp_path, compression="zlib")
    row = rows_of(cut(path, tmp_path / "store"))[9]

    image = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))

    x, y = int(row["x"]), int(row["y"])
    truth = stained(768, 640, blob=BLOB)[y : y + 64, x : x + 64]
    assert image.shape == (64, 64, 3)
    assert np.abs(image.mean((0, 1)) - truth.mean((0, 1))).max() < 2


@pytest.mark.parametrize("threads", [1, 7])
def test_two_runs_give_the_same_bytes_whatever_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    path = slide_file(tmp_path)
    monkeypatch.setattr(tiling, "worker_count", lambda: 2)
    first = cut(path, tmp_path / "one")
    monkeypatch.setattr(tiling, "worker_count", lambda: threads)
    monkeypatch.setattr(tiling, "_CUT", 3)

    assert cut(path, tmp_path / "two").manifest == first.manifest


def test_a_slide_is_cut_once(tmp_path: Path) -> None:
    path = slide_file(tmp_path)
    first, again = (cut(path, tmp_path / "store") for _ in range(2))
    other = cut(path, tmp_path / "store", section(jpeg_quality=80))

    assert (first.reused, again.reused, other.reused) == (False, True, False)


def test_datasets_opens_a_shard_without_being_told_its_features(tmp_path: Path) -> None:
    from datasets import Dataset

    artefact = cut(slide_file(tmp_path), tmp_path / "store")

    found = Dataset.from_file(str(artefact.folder / "tiles.arrow"))

    assert found[0]["image"].size == (64, 64)
    assert set(found.column_names) == {
        "image", "slide_id", "x", "y", "mpp", "tissue", "quality", "blur", "pen", "dark", "glass",
    }  # fmt: skip


def test_progress_ends_with_all_tiles(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    cut(slide_file(tmp_path), tmp_path / "store", progress=lambda *now: seen.append(now))

    assert seen[-1] == (48, 48)
    assert seen == sorted(seen)


def test_an_unreadable_tile_is_recorded_and_the_others_are_kept(tmp_path: Path) -> None:
    path = zero_tile(slide_file(tmp_path), 4 * 12 + 5)

    artefact = cut(path, tmp_path / "store", section(max_invalid=0.1))

    assert artefact.facts["invalid"] == [{"x": 320.0, "y": 256.0, "reason": "unreadable_tiles"}]
    assert artefact.facts["tiles"] == 47
    assert (320.0, 256.0) not in {(row["x"], row["y"]) for row in rows_of(artefact)}


def test_too_many_unreadable_tiles_quarantine_the_slide(tmp_path: Path) -> None:
    path = zero_tile(slide_file(tmp_path), 4 * 12 + 5)

    assert refused(path, tmp_path / "s", section(max_invalid=0.01)) is Reason.UNREADABLE_TILES


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        pytest.param(section(grid={"mpp": 1.0}), Reason.TOO_COARSE, id="finer than the slide"),
        pytest.param(section(grid={"tile_px": 2000}), Reason.TOO_SMALL, id="no tile fits"),
        pytest.param(section(tissue={"min_density": 3.0}), Reason.NO_TISSUE, id="no tissue"),
        pytest.param(section(quality={"min_sharpness": 1e9}), Reason.NO_TISSUE, id="all blurred"),
    ],
)
def test_a_slide_that_cannot_be_cut_is_refused(
    tmp_path: Path, chosen: TilesSection, reason: Reason
) -> None:
    assert refused(slide_file(tmp_path), tmp_path / "s", chosen) is reason


def test_a_hair_finer_than_the_slide_is_allowed_and_exact(tmp_path: Path) -> None:
    artefact = cut(slide_file(tmp_path), tmp_path / "store", section(grid={"mpp": 1.95}))

    assert artefact.facts["effective_mpp"] == pytest.approx(1.95)


def test_a_slide_id_that_could_leave_its_folder_is_refused(tmp_path: Path) -> None:
    path = slide_file(tmp_path)

    for name in ("../up", "a/b", "", "..", "a\nb"):
        assert refused(path, tmp_path / "s", slide_id=name) is Reason.UNSAFE_PATH


def test_facts_say_what_is_known_and_no_more(tmp_path: Path) -> None:
    path = slide_file(tmp_path, levels=2, description="Patient: Jane Doe")
    with open_slide(path) as slide:
        facts = slide_facts(slide)

    assert [level.native_tiles for level in facts.levels] == [120, 30]
    assert facts.mpp == pytest.approx(2.0, rel=1e-4)
    assert "Jane" not in facts.model_dump_json()


def test_a_check_names_every_bad_tile(tmp_path: Path) -> None:
    path = slide_file(tmp_path)
    assert check_slide(path).ok

    report = check_slide(zero_tile(path, 53))

    assert (report.ok, report.reason, report.unreadable) == (False, Reason.UNREADABLE_TILES, 1)
    assert (report.bad[0].column, report.bad[0].row) == (5, 4)


def test_a_check_of_what_is_no_slide_is_a_report(tmp_path: Path) -> None:
    report = check_slide(tmp_path / "none.svs")

    assert (report.ok, report.reason) == (False, Reason.MISSING)


@pytest.mark.real
def test_a_real_slide_with_zeroed_tiles_is_quarantined(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "wsi-broken/CMU-1-Small-Region_zeroed-800000-40000.svs"
    chosen = section(grid={"tile_px": 224, "mpp": 0.5})

    assert refused(path, tmp_path / "s", chosen) is Reason.UNREADABLE_TILES
    assert 5 <= check_slide(path).unreadable <= 12


@pytest.mark.real
def test_the_real_colon_slide_is_cut(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "wsi-colon/P2_0039_section1_half.tif"
    chosen = section(grid={"tile_px": 512, "mpp": 2.0})

    artefact = cut(path, tmp_path / "store", chosen, mpp=1.0)

    assert artefact.facts["mpp_source"] == "override"
    assert 25 <= artefact.facts["tiles"] <= 60
    assert artefact.facts["invalid"] == []
