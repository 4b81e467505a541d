"""Labels of tiles: classes by share, masks by pixel, counted, cached and refused when absurd."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from wsi_vit.errors import AnnotationError, LabelError
from wsi_vit.labels import IGNORE_ID, LabelClass, LabelMap
from wsi_vit.slides.tile_labels import (
    LabellingSection,
    Task,
    choose_classes,
    choose_labels,
    label_tiles,
)
from wsi_vit.store import Artefact, Shape, Store

CLASSES = (
    LabelClass(name="tumour", colour="#d55e00"),
    LabelClass(name="stroma", colour="#0072b2"),
    LabelClass(name="rest", colour="#000000"),
)
LABELS = LabelMap(classes=CLASSES, background="rest")
ORIGINS = [(0.0, 0.0), (40.0, 0.0), (0.0, 40.0), (40.0, 40.0)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def tiles(store: Store) -> Artefact:
    """Four tiles of 40 base pixels and 20 tile pixels a side, written as the stage `tiles` does."""

    def make(folder: Path) -> dict[str, Any]:
        x, y = zip(*ORIGINS, strict=True)
        table = pa.table({"slide_id": ["s"] * 4, "x": x, "y": y})
        with pa.ipc.new_stream(str(folder / "tiles.arrow"), table.schema) as stream:
            stream.write_table(table)
        return {"width": 100, "height": 80, "grid": {"side": 40.0, "tile_px": 20}}

    return store.ensure(Shape.of("tiles", 1, sections={}, inputs={}), make)


def outline(name: str, left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": name}},
    }


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Tile 0: 0.75 tumour. Tile 1: 0.5 stroma. Tile 2: 0.25 tumour. Tile 3: nothing."""
    path = tmp_path / "annotations.geojson"
    shapes = [outline("tumour", 0, 0, 30, 40), outline("stroma", 60, 0, 80, 40)]
    path.write_text(json.dumps([*shapes, outline("tumour", 0, 40, 10, 80)]))
    return path


def column(artefact: Artefact, name: str) -> list[Any]:
    with pa.memory_map(str(artefact.folder / "labels.arrow")) as source:
        return pa.ipc.open_stream(source).read_all()[name].to_pylist()


def label(
    tiles: Artefact, annotations: Path, store: Store, *, task: Task = "classification", **kw: Any
) -> Artefact:
    section = LabellingSection(**kw)
    return label_tiles(tiles, annotations, labels=LABELS, task=task, section=section, store=store)


def test_a_tile_has_the_class_that_covers_enough_of_it(
    tiles: Artefact, annotations: Path, store: Store
) -> None:
    labelled = label(tiles, annotations, store)
    assert column(labelled, "label") == [0, 1, None, None]
    assert labelled.facts["counts"] == {"tumour": 1, "stroma": 1, "rest": 0}
    assert labelled.facts["unlabelled"] == 2
    assert labelled.facts["tiles"] == 4


def test_a_higher_bar_leaves_more_tiles_unlabelled(
    tiles: Artefact, annotations: Path, store: Store
) -> None:
    labelled = label(tiles, annotations, store, min_coverage=0.6)
    assert column(labelled, "label") == [0, None, None, None]


def test_exhaustive_annotations_make_the_rest_background(
    tiles: Artefact, annotations: Path, store: Store
) -> None:
    labelled = label(tiles, annotations, store, outside="background")
    assert column(labelled, "label") == [0, 1, 2, 2]


def masks_of(artefact: Artefact) -> list[np.ndarray | None]:
    rows = column(artefact, "mask")
    return [row and np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in rows]


def test_a_mask_holds_training_ids_and_ignores_what_is_outside(
    tiles: Artefact, annotations: Path, store: Store
) -> None:
    labelled = label(tiles, annotations, store, task="segmentation")
    first, second, third, last = masks_of(labelled)
    assert first is not None
    assert first.shape == (20, 20)
    assert (first[:, :15] == 0).all()
    assert (first[:, 15:] == 255).all()
    assert second is not None
    assert (second[:, 10:] == 1).all()
    assert third is not None
    assert (third == 0).sum() == 100
    assert last is None, "nothing is annotated there"
    assert labelled.facts["counts"] == {"tumour": 400, "stroma": 200, "rest": 0}
    assert labelled.facts["ignored"] == 600
    assert labelled.facts["unlabelled"] == 1


def test_a_mask_of_exhaustive_annotations_ignores_nothing(
    tiles: Artefact, annotations: Path, store: Store
) -> None:
    labelled = label(tiles, annotations, store, task="segmentation", outside="background")
    masks = masks_of(labelled)
    assert all(mask is not None and mask.max() <= 2 for mask in masks)
    assert labelled.facts["counts"] == {"tumour": 400, "stroma": 200, "rest": 1000}


def test_labels_are_kept_and_made_anew_only_when_something_shapes_them(
    tiles: Artefact, annotations: Path, store: Store
) -> None:
    first = label(tiles, annotations, store)
    assert label(tiles, annotations, store).reused
    assert label(tiles, annotations, store, min_coverage=0.6).folder != first.folder
    annotations.write_text(annotations.read_text().replace("stroma", "tumour"))
    assert label(tiles, annotations, store).folder != first.folder


def test_two_runs_write_the_same_bytes(
    tiles: Artefact, annotations: Path, store: Store, tmp_path: Path
) -> None:
    here = label(tiles, annotations, store, task="segmentation")
    there = label(tiles, annotations, Store(tmp_path / "other"), task="segmentation")
    assert here.manifest == there.manifest


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_datasets_opens_the_labels_with_their_features(
    tiles: Artefact, annotations: Path, store: Store, task: Task
) -> None:
    import datasets

    path = label(tiles, annotations, store, task=task).folder / "labels.arrow"
    table = datasets.Dataset.from_file(str(path))
    if task == "classification":
        assert table.features["label"].names == ["tumour", "stroma", "rest"]
    else:
        assert isinstance(table.features["mask"], datasets.Image)
        assert table[0]["mask"].size == (20, 20)


def test_outlines_that_hardly_touch_the_tiles_look_like_a_wrong_scale(
    tiles: Artefact, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "small.geojson"
    path.write_text(json.dumps([outline("tumour", 0, 0, 4, 4)]))
    with pytest.raises(AnnotationError, match=r"cover 0\.25% of the tiles' area"):
        label(tiles, path, store)
    assert not list(store.artefacts("tile-labels")), "nothing was kept"
    assert label(tiles, path, store, min_overlap=0.001).facts["unlabelled"] == 4


def test_background_outside_needs_a_class_for_it(
    tiles: Artefact, annotations: Path, store: Store
) -> None:
    with pytest.raises(LabelError, match="no class stands for it"):
        label_tiles(
            tiles,
            annotations,
            labels=LabelMap(classes=CLASSES),
            task="classification",
            section=LabellingSection(outside="background"),
            store=store,
        )


def test_a_missing_file_is_told(tiles: Artefact, store: Store, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="No such annotation file"):
        label(tiles, tmp_path / "none.xml", store)


def test_a_share_exactly_at_the_bar_is_enough() -> None:
    thirds = np.array([[0.1 + 0.2 + 0.2, 0.3, 0.0], [0.49, 0.49, 0.0]])
    assert choose_classes(thirds, LABELS, LabellingSection()).tolist() == [0, -1]


@pytest.mark.parametrize(("outside", "other"), [("ignore", IGNORE_ID), ("background", 0)])
def test_a_tile_has_every_label_that_covers_enough_of_it(outside: Any, other: int) -> None:
    section = LabellingSection(least_share=0.1, outside=outside)
    coverage = np.array([[0.5, 0.1], [0.92, 0.04], [0.3, 0.0], [0.0, 0.0]])
    found = choose_labels(coverage, section)
    # Of the second tile so little is unknown that the other label cannot be there.
    assert found.tolist() == [[1, 1], [1, 0], [1, other], [other, other]]


def test_several_labels_are_lists_as_datasets_has_them(
    tiles: Artefact, annotations: Path, store: Store
) -> None:
    import datasets

    labelled = label(tiles, annotations, store, task="multi_label", least_share=0.3)
    table = datasets.Dataset.from_file(str(labelled.folder / "labels.arrow"))
    assert table.features["labels"].feature.names == list(LABELS.names)
    assert table["labels"][:] == [[0], [1], None, None]  # of the last two nothing is known
    assert table["unknown"][:] == [[], [0, 2], None, None]
    assert labelled.facts["counts"] == {"tumour": 1, "stroma": 1, "rest": 0}
    assert labelled.facts["unlabelled"] == 2
    known = label(tiles, annotations, store, task="multi_label", outside="background")
    assert column(known, "labels") == [[0], [1], [0], []]
    assert column(known, "unknown") == [[], [], [], []]


def test_what_only_another_task_asks_for_names_no_labels() -> None:
    section = LabellingSection(least_share=0.3, min_coverage=0.7)
    assert "least_share" not in section.shaping("classification")
    assert "min_coverage" not in section.shaping("multi_label")
