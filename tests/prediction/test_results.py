"""The table, the areas and the scores beside truth, worked out by hand."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.prediction.colours import LABELS
from wsi_vit.geometry import Region
from wsi_vit.prediction.canvas import Canvas, PlannedTile
from wsi_vit.prediction.overview import compare
from wsi_vit.prediction.painting import Tally
from wsi_vit.prediction.record import class_facts, provenance, tile_facts
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.table import NO_TISSUE, UNREADABLE, TileRecord, write_table

TILES = [PlannedTile(n, n, 0, Region(10.5 * n, 2.25, 10.5, 10.5), 0.5 + n / 10) for n in range(3)]
RECORDS = [
    TileRecord(TILES[0], np.array([0.25, 0.5, 0.25], np.float32)),
    TileRecord(TILES[1], None, UNREADABLE),
    TileRecord(TILES[2], None, NO_TISSUE),
]


def test_the_table_says_null_where_nothing_was_predicted(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", RECORDS, slide_id="s", mpp=0.5, labels=LABELS)
    table = pq.read_table(tmp_path / "t.parquet")

    assert table.column("class").to_pylist() == ["stroma", None, None]
    assert table.column("class_id").to_pylist() == [7, None, None]
    assert table.column("score_stroma").to_pylist() == [0.5, None, None]
    assert table.column("valid").to_pylist() == [True, False, False]
    assert table.column("reason").to_pylist() == [None, "unreadable_tiles", "no_tissue"]
    assert table.column("x").to_pylist() == [0.0, 10.5, 21.0]
    assert b"level-0" in table.schema.metadata[b"frame"]


def test_the_table_has_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in "ab":
        write_table(tmp_path / name, RECORDS, slide_id="s", mpp=0.5, labels=LABELS)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_only_unreadable_tiles_are_invalid() -> None:
    facts = tile_facts(RECORDS)

    assert (facts.planned, facts.predicted) == (3, 1)
    assert [(item.x, item.y, item.reason) for item in facts.invalid] == [(10.5, 2.25, UNREADABLE)]


def test_areas_are_square_millimetres() -> None:
    canvas = Canvas(step=4.0, plane=(4000, 4000), mpp=0.5, patch_px=64, stride_px=48)
    facts = class_facts(Tally(np.array([250_000.0, 0.0, 750_000.0])), canvas, LABELS)

    assert [item.area_mm2 for item in facts] == [1.0, 0.0, 3.0]
    assert [item.share for item in facts] == [0.25, 0.0, 0.75]
    assert [item.export_id for item in facts] == [3, 7, 1]


def test_nothing_computed_has_no_shares() -> None:
    canvas = Canvas(step=4.0, plane=(40, 40), mpp=0.5, patch_px=64, stride_px=48)

    assert [item.share for item in class_facts(Tally(np.zeros(3)), canvas, LABELS)] == [0, 0, 0]


def test_iou_counts_only_where_both_are_known() -> None:
    truth = np.array([[0, 0, 1, 255, 1]], np.uint8)
    prediction = np.array([[0, 1, 1, 0, 255]], np.uint8)
    scores = compare(truth, prediction, LABELS)

    assert scores[:2] == pytest.approx([0.5, 0.5])
    assert np.isnan(scores[2])


def test_speed_settings_shape_nothing() -> None:
    slow = PredictionSection(batch_size=1, memory_mb=32)

    assert slow.shaping("slides") == PredictionSection().shaping("slides")
    assert PredictionSection(overlap=0.5).shaping("slides") != slow.shaping("slides")


def test_what_only_slides_know_shapes_no_picture_and_the_other_way_round() -> None:
    outlines, tiles = PredictionSection(min_area_um2=5), PredictionSection(tile_px=480)

    assert outlines.shaping("pictures") == PredictionSection().shaping("pictures")
    assert tiles.shaping("slides") == PredictionSection().shaping("slides")
    assert tiles.shaping("pictures") != PredictionSection().shaping("pictures")
    assert outlines.shaping("slides") != PredictionSection().shaping("slides")


def test_provenance_names_what_took_part() -> None:
    made = provenance("cpu")

    assert {"torch", "zarr", "shapely"} <= set(made.versions)
    assert made.device == "cpu"
