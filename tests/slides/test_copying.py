"""Tiles that keep the scanner's bytes: the same pixels, and no damage unseen."""

import io
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pyarrow as pa
import pytest
import simplejpeg
from PIL import Image

from tests.slides.making import JpegKind, stained, tissue_like, write_jpeg_tiff
from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides import tiling
from wsi_vit.slides.copying import Copier
from wsi_vit.slides.jpeg import damage
from wsi_vit.slides.jpeg.damage import doubtful, markers_in
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Artefact, Store

SIDE = 64


def section(**changes: Any) -> TilesSection:
    grid = {"tile_px": SIDE, "mpp": 2.0, "min_tissue": 0.3} | changes.pop("grid", {})
    return TilesSection.model_validate({"grid": grid, "max_invalid": 0.5, **changes})


def tissue_slide(path: Path, kind: JpegKind = "own tables", mpp: float = 2.0) -> Path:
    return write_jpeg_tiff(path, tissue_like(5 * SIDE + 9, 3 * SIDE + 5), kind=kind, mpp=mpp)


def cut(path: Path, root: Path, chosen: TilesSection, mpp: float | None = None) -> Artefact:
    return tile_slide(SlideInput(path, "a", mpp), section=chosen, store=Store(root))


def rows_of(artefact: Artefact) -> list[dict[str, Any]]:
    with pa.memory_map(str(artefact.folder / "tiles.arrow")) as source:
        return pa.ipc.open_stream(source).read_all().to_pylist()


def pixels(row: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def identical(path: Path, artefact: Artefact, side: int = SIDE) -> int:
    """Return how many tiles were compared with OpenSlide's pixels; all must be the same."""
    known, rows = openslide.OpenSlide(path), rows_of(artefact)
    for row in rows:
        truth = known.read_region((int(row["x"]), int(row["y"])), 0, (side, side))
        assert np.array_equal(pixels(row), np.asarray(truth)[..., :3]), (row["x"], row["y"])
    return len(rows)


def overwrite(path: Path, index: int, change: Callable[[bytes], bytes]) -> Path:
    """Change the stored bytes of one tile."""
    with open_slide(path) as slide:
        assert slide.stored
        level = slide.stored.levels[0]
        assert level
        offset, count = int(level.offsets[index]), int(level.counts[index])
    data = bytearray(path.read_bytes())
    changed = change(bytes(data[offset : offset + count]))
    assert len(changed) == count
    data[offset : offset + count] = changed
    path.write_bytes(data)
    return path


@pytest.fixture(
    params=[(256, 2), (3, 2), (3, 1)], ids=["in one chunk", "in several", "on a single core"]
)
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy few tiles at a time: from the second chunk on, the header is known beforehand."""
    monkeypatch.setattr(tiling, "_COPIED", request.param[0])
    monkeypatch.setattr(tiling, "worker_count", lambda: request.param[1])


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("kind", ["tables", "own tables", "rgb", "rgb with jfif"])
def test_a_grid_that_is_the_slides_own_keeps_its_bytes_and_openslides_pixels(
    tmp_path: Path, kind: JpegKind
) -> None:
    path = tissue_slide(tmp_path / "a.tif", kind)

    artefact = cut(path, tmp_path / "s", section())

    assert artefact.facts["path"] == {"kind": "copied", "level": 0, "factor": 1}
    assert (artefact.facts["copied"], artefact.facts["encoded"]) == (15, 0)
    assert identical(path, artefact) == 15
    assert {row["quality"] for row in rows_of(artefact)} == {None}


def test_on_a_single_core_the_memory_of_a_chunk_is_free_before_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "_COPIED", 3)
    monkeypatch.setattr(tiling, "worker_count", lambda: 1)
    packed, before = Copier._packed, list[weakref.ref[Any]]()

    def noting(copier: Copier, wanted: range, streams: Any) -> Any:
        assert [held() for held in before] == [None] * len(before)
        data = np.frombuffer(streams.data, np.uint8).copy()
        before.append(weakref.ref(data))
        return packed(copier, wanted, replace(streams, data=data))

    monkeypatch.setattr(Copier, "_packed", noting)

    cut(tissue_slide(tmp_path / "a.tif"), tmp_path / "s", section())

    assert len(before) == 5


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "side", "asked", "mpp"),
    [
        pytest.param("wsi/CMU-1-Small-Region.svs", 240, 0.5, None, id="mpp 0.499 for 0.5"),
        pytest.param("wsi-colon/P2_0039_section1_half.tif", 256, 1.0, 1.0, id="no mpp of its own"),
    ],
)
def test_real_slides_keep_their_bytes(
    real_data: Path, tmp_path: Path, name: str, side: int, asked: float, mpp: float | None
) -> None:
    path = real_data / name

    artefact = cut(path, tmp_path / "s", section(grid={"tile_px": side, "mpp": asked}), mpp)

    facts = artefact.facts
    assert (facts["path"]["kind"], facts["encoded"], facts["invalid"]) == ("copied", 0, [])
    assert facts["effective_mpp"] == facts["mpp"]
    assert identical(path, artefact, side) == facts["copied"] > 40
    stored = sum(len(row["image"]["bytes"]) for row in rows_of(artefact))
    assert (artefact.folder / "tiles.arrow").stat().st_size < 1.02 * stored


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        pytest.param({}, "copied", id="0.8 % finer than asked"),
        pytest.param({"mpp_tolerance": 0.0}, "decoded", id="exactly what is asked"),
        pytest.param({"overlap": 0.5}, "decoded", id="overlapping"),
        pytest.param({"tile_px": 32}, "decoded", id="smaller tiles"),
        pytest.param({"mpp": 2.05}, "decoded", id="3 % coarser"),
    ],
)
def test_only_the_slides_own_tiling_is_kept(
    tmp_path: Path, changes: dict[str, Any], kind: str
) -> None:
    path = tissue_slide(tmp_path / "a.tif", mpp=1.984)

    facts = cut(path, tmp_path / "s", section(grid=changes)).facts

    assert facts["path"]["kind"] == kind
    if kind == "decoded":
        assert facts["effective_mpp"] == pytest.approx(facts["requested_mpp"])


@pytest.mark.usefixtures("chunks")
def test_tiles_that_leave_the_slide_are_padded_and_encoded(tmp_path: Path) -> None:
    path = tissue_slide(tmp_path / "a.tif")

    artefact = cut(path, tmp_path / "s", section(grid={"edge": "pad", "min_tissue": 0.01}))

    assert artefact.facts["copied"] == 15
    edge = [row for row in rows_of(artefact) if row["x"] == 5 * SIDE or row["y"] == 3 * SIDE]
    assert len(edge) == artefact.facts["encoded"] > 0
    assert all(pixels(row)[-1, -1].min() > 240 for row in edge), "background, not the tile's black"


@pytest.mark.usefixtures("chunks")
def test_sharpness_is_measured_where_it_is_asked_for_and_bytes_stay(tmp_path: Path) -> None:
    path = tissue_slide(tmp_path / "a.tif")
    plain = cut(path, tmp_path / "s", section())

    measured = cut(path, tmp_path / "s", section(quality={"min_sharpness": 0.1}))

    assert [row["image"] for row in rows_of(measured)] == [row["image"] for row in rows_of(plain)]
    assert all(row["quality"] > 1 for row in rows_of(measured))
    with pytest.raises(SlideError) as caught:
        cut(path, tmp_path / "s", section(quality={"min_sharpness": 1e9}))
    assert caught.value.reason is Reason.NO_TISSUE


def inside(tile: bytes, what: bytes) -> bytes:
    """Put bytes into the compressed pixels."""
    at = len(tile) - len(what) - 100
    return tile[:at] + what + tile[at + len(what) :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "zeroed": lambda tile: bytes(len(tile)),
    "zeros inside": lambda tile: inside(tile, bytes(40)),
    "cut": lambda tile: tile[: len(tile) // 2].ljust(len(tile), b"\x11"),
    "foreign": lambda tile: inside(tile, np.random.default_rng(5).bytes(400)),
    "header": lambda tile: tile[:20] + b"\x99" * 40 + tile[60:],
}


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("done", DAMAGE)
def test_a_damaged_tile_is_not_copied_and_makes_all_others_be_proved(
    tmp_path: Path, done: str
) -> None:
    path = overwrite(tissue_slide(tmp_path / "a.tif"), 8, DAMAGE[done])

    artefact = cut(path, tmp_path / "s", section())

    where = {"x": 2.0 * SIDE, "y": 1.0 * SIDE, "reason": "unreadable_tiles"}
    assert artefact.facts["invalid"] == [where]
    assert (artefact.facts["copied"], artefact.facts["verified"]) == (14, "every")


@pytest.mark.parametrize("kind", ["own tables", "tables"])
def test_tiles_are_read_to_where_they_belong_only_if_all_open_alike(
    tmp_path: Path, kind: JpegKind
) -> None:
    path = tissue_slide(tmp_path / "a.tif", kind)
    wanted = np.array([0, 1, 2, 7, 5, 14])

    def read(path: Path) -> tuple[bytes, list[int]] | None:
        with open_slide(path) as slide:
            assert slide.stored
            level = slide.stored.levels[0]
            assert level
            usual = level.opening(slide.stored.raw(level, 0))
            found = slide.stored.spliced(level, wanted, usual)
        return None if found is None else (found[0].tobytes(), found[1].tolist())

    with open_slide(path) as slide:
        assert slide.stored
        level = slide.stored.levels[0]
        assert level
        each = [slide.stored.standalone(level, int(index))[0] for index in wanted]
    assert read(path) == (b"".join(each), np.cumsum([len(one) for one in each]).tolist())
    assert read(overwrite(path, 5, DAMAGE["header"])) is None, "another header"


def with_foreign_pixels(tile: bytes) -> bytes:
    """Put compressed pixels of another picture into a tile, such that a decoder minds them."""
    other = simplejpeg.encode_jpeg(tissue_like(256, 256, seed=9), quality=85)
    for at in range(700, len(other) - 200, 20):
        piece = other[at : at + 120]
        if b"\xff" in piece:  # which might show as a sign
            continue
        changed = inside(tile, piece)
        try:
            simplejpeg.decode_jpeg(changed)
        except ValueError:
            return changed
    raise AssertionError("the decoder minds none of them")


def test_damage_without_a_sign_is_found_once_another_tile_has_shown_one(tmp_path: Path) -> None:
    """Bytes of another JPEG: only decoding tells."""
    picture = tissue_like(5 * SIDE, 3 * SIDE)  # with levels, so that the mask needs no tile of it
    path = write_jpeg_tiff(tmp_path / "a.tif", picture, mpp=2.0, levels=3)
    overwrite(path, 9, with_foreign_pixels)
    unseen = cut(path, tmp_path / "s", section()).facts["copied"]
    proved = cut(path, tmp_path / "s", section(verify="every")).facts["copied"]
    overwrite(path, 2, DAMAGE["zeroed"])

    facts = cut(path, tmp_path / "s", section()).facts

    assert (unseen, proved) == (15, 14), "what `verify: every` is for"
    assert [(bad["x"], bad["y"]) for bad in facts["invalid"]] == [(128.0, 0.0), (256.0, 64.0)]


def with_another_header(tile: bytes) -> bytes:
    """Encode a tile anew, more coarsely, with a comment that makes it as long as it was."""
    coarse = simplejpeg.encode_jpeg(simplejpeg.decode_jpeg(tile), quality=50)
    spare = len(tile) - len(coarse)
    return coarse[:2] + b"\xff\xfe" + (spare - 2).to_bytes(2, "big") + bytes(spare - 4) + coarse[2:]


def test_a_level_knows_how_all_its_tiles_open_until_one_opens_otherwise(tmp_path: Path) -> None:
    path = overwrite(tissue_slide(tmp_path / "a.tif"), 9, with_another_header)
    with open_slide(path) as slide:
        assert slide.stored
        level = slide.stored.levels[0]
        assert level
        assert level.only is None, "none was seen"

        first, again, other = (level.opening(slide.stored.raw(level, at)) for at in (0, 1, 9))
        assert first is again
        assert first is not other
        assert level.only is None, "two were"


def test_damage_without_a_sign_is_found_under_a_header_that_was_not_seen_before(
    tmp_path: Path,
) -> None:
    picture = tissue_like(5 * SIDE, 3 * SIDE)
    path = write_jpeg_tiff(tmp_path / "a.tif", picture, mpp=2.0, levels=3)
    overwrite(path, 9, with_another_header)
    assert cut(path, tmp_path / "s", section()).facts["verified"] == "sample"
    overwrite(path, 9, with_foreign_pixels)

    facts = cut(path, tmp_path / "s", section()).facts

    assert (facts["copied"], facts["verified"]) == (14, "every")


@pytest.mark.real
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tile_px": 240}, id="copied"),
        pytest.param({"tile_px": 120, "mpp": 0.998}, id="decoded at a half"),
        pytest.param({"tile_px": 224}, id="decoded and resampled"),
    ],
)
def test_no_zeroed_pixel_of_a_real_slide_passes_on_any_path(
    real_data: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = real_data / "wsi-broken/CMU-1-Small-Region_zeroed-800000-40000.svs"
    whole = real_data / "wsi/CMU-1-Small-Region.svs"
    chosen = section(grid={"mpp": 0.5, **changes})

    damaged, sound = (cut(item, tmp_path / "s", chosen) for item in (path, whole))

    side, truth = damaged.facts["grid"]["side"], {place(row): row for row in rows_of(sound)}
    kept = {place(row): row for row in rows_of(damaged)}
    lost = {place(bad) for bad in damaged.facts["invalid"]}
    zeroed = [Region(index % 10 * 240, index // 10 * 240, 240, 240) for index in range(87, 94)]
    assert len(lost) >= 5
    for corner in truth:
        is_zeroed = any(Region(*corner, side, side).intersects(bad) for bad in zeroed)
        assert (corner in lost, corner in kept) == (is_zeroed, not is_zeroed), corner
    assert all(kept[corner]["image"] == truth[corner]["image"] for corner in kept)


def place(row: dict[str, Any]) -> tuple[float, float]:
    return row["x"], row["y"]


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_signs_of_damage_are_told_from_sound_streams(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "_BLOCK", block)
    sound = simplejpeg.encode_jpeg(tissue_like(SIDE, SIDE), colorsubsampling="420")
    blank = simplejpeg.encode_jpeg(stained(SIDE, SIDE, blob=(0, 0, 1, 1)), colorsubsampling="420")
    sink = io.BytesIO()
    Image.fromarray(tissue_like(SIDE, SIDE)).save(sink, "JPEG", restart_marker_rows=1)
    assert b"\xff\xd0" in sink.getvalue(), "with restart markers"
    streams = [
        sound,
        sound + b"\0",
        sound[:-2],
        blank,
        sink.getvalue(),
        sound[:800] + b"\xff" * 9 + sound[809:],
    ]
    head = sound.index(b"\xff\xda") + 14
    expected = [False, True, True, False, False, True]

    alone = [doubts_of([stream], head) for stream in streams]

    assert alone == [[doubt] for doubt in expected]
    assert doubts_of(streams, head) == expected
    assert doubts_of([sound, blank, sound], head) == [False, False, False]


def test_lost_sectors_and_foreign_bytes_are_signs_wherever_they_begin() -> None:
    sound = simplejpeg.encode_jpeg(tissue_like(256, 256), colorsubsampling="420")
    head = sound.index(b"\xff\xda") + 14
    foreign = [b"\0" * 511, b"\xff\x01", b"\xff\xd8"]
    places = [(head + at, part) for at in range(512) for part in foreign]
    hurt = [sound[:at] + part + sound[at + len(part) :] for at, part in places]

    doubts = doubts_of([sound, *hurt, sound], head)

    assert doubts == [False, *[True] * len(hurt), False]


def doubts_of(streams: list[bytes], head: int) -> list[bool]:
    """Return which are doubted of streams whose pixels begin after so many bytes."""
    ends = np.cumsum([len(stream) for stream in streams])
    scans = ends - [len(stream) - head for stream in streams]
    markers = sum(markers_in(stream[:head]) for stream in streams)
    return doubtful(b"".join(streams), scans, ends, markers=markers).tolist()
