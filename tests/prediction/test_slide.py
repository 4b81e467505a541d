"""A slide, painted in known colours, comes back in place, whole and once."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.prediction.colours import (
    LABELS,
    ByColour,
    applied,
    checkerboard,
    coverage,
    painted,
    write_slide,
)
from wsi_vit.errors import ModelError, Reason, SlideError
from wsi_vit.prediction import painting
from wsi_vit.prediction.canvas import Canvas
from wsi_vit.prediction.ome_zarr import ClassMap
from wsi_vit.prediction.overview import draw_comparison
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.slide import (
    ANNOTATIONS,
    CLASS_MAP,
    RECORD,
    TILES,
    Prediction,
    predict_slide,
    prediction_shape,
)
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.store import Store, verify_folder

WIDTH, HEIGHT, MPP = 1733, 1219, 0.37
STEP = 1 / MPP
EVERY_PART = PredictionSection(min_area_um2=0)
TRUTH = checkerboard(WIDTH, HEIGHT, cell=149, glass=160)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> SlideInput:
    path = write_slide(tmp_path_factory.mktemp("slides") / "board.tif", painted(TRUTH))
    return SlideInput(path, slide_id="board", mpp=MPP)


@pytest.fixture(scope="module")
def predicted(slide: SlideInput, tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    return predict_slide(applied(), slide, out=tmp_path_factory.mktemp("out"), section=EVERY_PART)


def map_of(prediction: Prediction) -> ClassMap:
    facts = prediction.record.map
    canvas = Canvas(
        step=facts.step_base_px,
        plane=(prediction.record.slide.width, prediction.record.slide.height),
        mpp=prediction.record.resolution.slide_mpp,
        patch_px=facts.tile_px,
        stride_px=facts.stride_px,
    )
    return ClassMap(prediction.folder / CLASS_MAP, canvas, LABELS)


def classes_of(prediction: Prediction) -> NDArray[np.uint8]:
    return map_of(prediction).read(most_px=10**9).classes


def probabilities_of(prediction: Prediction) -> NDArray[np.uint8]:
    target = map_of(prediction)
    level = target.read(most_px=10**9)
    return np.stack([target.read_probability(level, k) for k in range(len(LABELS))])


def expected_classes() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The class that fills each map pixel, and where one does."""
    shares = np.stack([coverage(TRUTH, k, STEP) for k in range(3)])
    return shares.argmax(0).astype(np.uint8), shares.max(0) > 0.999


def test_a_checkerboard_of_odd_size_comes_back_in_place(predicted: Prediction) -> None:
    expected, is_pure = expected_classes()
    classes = classes_of(predicted)

    assert classes.shape == expected.shape == (452, 642)
    sure = is_pure & (classes != 255)
    assert sure.sum() > 0.95 * is_pure.sum()
    assert (classes[sure] == expected[sure]).all()
    # up to the far edges, where a grid that was rounded anywhere would have drifted
    assert sure[-40:, -40:].sum() > 0.9 * is_pure[-40:, -40:].sum()


def test_glass_is_not_computed(predicted: Prediction) -> None:
    classes = classes_of(predicted)
    glass = int(160 / STEP) - 32  # µm: the tissue mask's edge is smoothed by 12 µm

    assert (classes[:glass] == 255).all()
    assert (classes[:, :glass] == 255).all()
    assert (probabilities_of(predicted)[:, classes == 255] == 0).all()


def test_probabilities_belong_to_the_classes(predicted: Prediction) -> None:
    classes, probabilities = classes_of(predicted), probabilities_of(predicted)
    computed = classes != 255

    assert (probabilities.argmax(0)[computed] == classes[computed]).mean() > 0.999
    total = probabilities.sum(0, dtype=int)[computed]
    assert (abs(total - 255) <= 1).all()


def test_areas_are_those_of_the_map(predicted: Prediction) -> None:
    record, classes = predicted.record, classes_of(predicted)
    down, across = (
        np.minimum(np.diff(np.minimum(np.arange(count + 1) * STEP, length)) / STEP, 1)
        for count, length in zip(classes.shape, (HEIGHT, WIDTH), strict=True)
    )
    for item in record.classes:
        pixels = down @ (classes == item.training_id) @ across
        assert item.area_mm2 == pytest.approx(pixels / 1e6, abs=1e-6)
    assert sum(item.share for item in record.classes) == pytest.approx(1, abs=1e-5)
    assert record.computed_mm2 == pytest.approx(
        (WIDTH - 160) * (HEIGHT - 160) * MPP**2 / 1e6, rel=0.1
    )


def test_outlines_drawn_on_base_pixels_give_the_map_back(predicted: Prediction) -> None:
    classes = classes_of(predicted)
    collection = json.loads((predicted.folder / ANNOTATIONS).read_text())
    rows, columns = (np.mgrid[: classes.shape[0], : classes.shape[1]] + 0.5) * STEP
    drawn = np.full(classes.shape, 255, np.uint8)
    for feature in collection["features"]:
        rings = feature["geometry"]["coordinates"]
        polygon = shapely.Polygon(rings[0], rings[1:])
        assert polygon.is_valid
        name = feature["properties"]["classification"]["name"]
        drawn[shapely.contains_xy(polygon, columns, rows)] = LABELS.id_of(name)

    assert (drawn == classes).mean() >= 0.995


def test_annotations_are_what_qupath_reads(predicted: Prediction) -> None:
    collection = json.loads((predicted.folder / ANNOTATIONS).read_text())
    features = collection["features"]
    first = features[0]["properties"]

    assert collection["type"] == "FeatureCollection"
    assert len(features) == predicted.record.outlines > 20
    assert first["objectType"] == "annotation"
    assert first["classification"] == {"name": "tumour", "color": [0xD5, 0x5E, 0]}
    assert first["measurements"]["Mean probability"] > 0.9
    assert len({feature["id"] for feature in features}) == len(features)
    order = [LABELS.id_of(f["properties"]["classification"]["name"]) for f in features]
    assert order == sorted(order)
    areas = sum(feature["properties"]["measurements"]["Area µm^2"] for feature in features)
    assert areas / 1e6 == pytest.approx(predicted.record.computed_mm2, rel=0.02)


def test_the_table_has_a_row_a_tile(predicted: Prediction) -> None:
    table = pq.read_table(predicted.folder / TILES)
    rows = table.to_pylist()

    assert len(rows) == predicted.record.tiles.planned == predicted.record.tiles.predicted
    assert {row["slide_id"] for row in rows} == {"board"}
    assert rows[0]["side_px"] == pytest.approx(64 * STEP)
    assert all(row["valid"] and row["reason"] is None for row in rows)
    scores = [[row[f"score_{name}"] for name in LABELS.names] for row in rows]
    assert np.allclose(np.sum(scores, axis=1), 1, atol=1e-5)
    assert [(row["y"], row["x"]) for row in rows] == sorted((r["y"], r["x"]) for r in rows)


def test_the_record_says_what_was_asked_and_got(predicted: Prediction) -> None:
    record = predicted.record

    assert record.resolution.requested_mpp == 1.0
    assert record.resolution.effective_mpp == pytest.approx(1.0, abs=1e-12)
    assert record.resolution.source == "override"
    assert record.map.stride_px == 48
    assert record.model.digest == "c0" * 32
    assert len(record.slide.sha256) == 64
    assert "numpy" in record.provenance.versions


def test_a_second_call_predicts_nothing(predicted: Prediction, slide: SlideInput) -> None:
    model = applied()
    out = predicted.folder.parents[1]
    again = predict_slide(model, slide, out=out, section=EVERY_PART)

    assert again.reused
    assert again.folder == predicted.folder
    assert cast(ByColour, model.model).calls == 0
    assert again.record == predicted.record


def test_batch_and_memory_shape_nothing(
    predicted: Prediction, slide: SlideInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same slide in stripes of 256 columns, in batches of 5, gives the same map."""
    monkeypatch.setattr("wsi_vit.prediction.ome_zarr.SHARD_PX", 256)
    monkeypatch.setattr("wsi_vit.prediction.painting.SHARD_PX", 256)
    seen: list[list[painting.Stripe]] = []
    cut = painting.stripes
    monkeypatch.setattr(
        painting, "stripes", lambda *a, **k: seen.append(parts := _narrow(cut(*a, **k))) or parts
    )
    section = PredictionSection(batch_size=5, min_area_um2=0)
    again = predict_slide(applied(), slide, out=tmp_path, section=section)

    assert len(seen[0]) > 2
    assert again.folder.name == predicted.folder.name
    assert (classes_of(again) == classes_of(predicted)).all()
    difference = probabilities_of(again).astype(int) - probabilities_of(predicted)
    assert (abs(difference) <= 1).all()
    assert again.record == predicted.record
    assert again.artefact.facts == predicted.artefact.facts


def _narrow(parts: Iterable[painting.Stripe]) -> list[painting.Stripe]:
    """Cut stripes of 256 columns, whatever the ceiling would allow."""
    right = max(stripe.right for stripe in parts)
    return [painting.Stripe(at, min(at + 256, right)) for at in range(0, right, 256)]


def test_two_predictions_have_the_same_bytes(
    predicted: Prediction, slide: SlideInput, tmp_path: Path
) -> None:
    again = predict_slide(applied(), slide, out=tmp_path, section=EVERY_PART)

    assert again.artefact.digest == predicted.artefact.digest
    assert verify_folder(tmp_path)[1] == []


def test_another_model_or_setting_is_another_prediction(
    predicted: Prediction, slide: SlideInput, tmp_path: Path
) -> None:
    other = replace(applied(), digest="0f" * 32)
    section = PredictionSection(overlap=0.5, min_area_um2=0)
    shapes = [
        prediction_shape(slide, model, asked, Store(tmp_path))
        for model, asked in ((applied(), EVERY_PART), (other, EVERY_PART), (applied(), section))
    ]

    assert shapes[0].name == predicted.folder.name
    assert len({shape.key for shape in shapes}) == 3


def test_a_classifier_gives_a_class_a_tile(slide: SlideInput, tmp_path: Path) -> None:
    model = applied("classification", tile_px=32)
    prediction = predict_slide(model, slide, out=tmp_path)
    classes = classes_of(prediction)
    side = 32 * STEP
    shares = np.stack([coverage(TRUTH, k, side) for k in range(3)])
    pure = (shares.max(0) > 0.999) & (classes != 255)

    assert classes.shape == (15, 21)
    assert prediction.record.map.tile_px == 1
    assert pure.sum() > 20
    assert (classes[pure] == shares.argmax(0)[pure]).all()
    assert prediction.record.tiles.predicted == (classes != 255).sum()


def test_unreadable_tiles_are_named_and_never_invented(slide: SlideInput, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    shutil.copy(slide.path, broken)
    x, y = _spoil_one_tile(broken)
    model = applied()
    assert model.tiles
    model = replace(model, tiles=model.tiles.model_copy(update={"max_invalid": 0.5}))
    prediction = predict_slide(model, SlideInput(broken, mpp=MPP), out=tmp_path / "out")
    classes = classes_of(prediction)
    hole = classes[
        int(y / STEP) + 1 : int((y + 256) / STEP), int(x / STEP) + 1 : int((x + 256) / STEP)
    ]
    rows = pq.read_table(prediction.folder / TILES).to_pylist()

    assert prediction.record.tiles.invalid
    assert (hole == 255).all()
    assert (classes != 255).sum() > 100_000
    assert {row["reason"] for row in rows if not row["valid"]} <= {"unreadable_tiles", "no_tissue"}
    assert all(row["class"] is None for row in rows if not row["valid"])


def test_too_many_unreadable_tiles_leave_nothing_behind(slide: SlideInput, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    shutil.copy(slide.path, broken)
    _spoil_one_tile(broken)
    with pytest.raises(SlideError) as caught:
        predict_slide(applied(), SlideInput(broken, mpp=MPP), out=tmp_path / "out")

    assert caught.value.reason is Reason.UNREADABLE_TILES
    assert list((tmp_path / "out").rglob(RECORD)) == []


def test_a_model_that_gives_nonsense_leaves_nothing_behind(
    slide: SlideInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ByColour, "scores", lambda self, images: images.float() * float("nan"))
    with pytest.raises(ModelError, match="scores"):
        predict_slide(applied(), slide, out=tmp_path)

    assert list(tmp_path.rglob("*.zarr")) == []


def test_a_model_of_pictures_does_not_take_slides(slide: SlideInput, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="resolution"):
        predict_slide(replace(applied(), tiles=None), slide, out=tmp_path)


def test_truth_is_drawn_beside_the_prediction(predicted: Prediction, slide: SlideInput) -> None:
    with open_slide(slide.path, mpp=MPP) as opened:
        sheet = draw_comparison(
            opened, map_of(predicted), predicted.record, truth=TRUTH, longest_px=500
        )

    assert sheet.width > 3 * 500
    with Image.open(predicted.overview) as overview:
        assert overview.width > 2 * 1000


def _spoil_one_tile(path: Path) -> tuple[int, int]:
    """Overwrite a tile in the middle with bytes that cannot be inflated; return its corner."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        across = -(-WIDTH // 256)
        number = 2 * across + 3
        offset, count = page.dataoffsets[number], page.databytecounts[number]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * count)
    return 3 * 256, 2 * 256
