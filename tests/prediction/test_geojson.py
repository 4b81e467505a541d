"""Annotations: which level is traced, where it lies, and what is said of the frame."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from tests.prediction.colours import LABELS
from wsi_vit.geometry import Region
from wsi_vit.labels import LabelMap
from wsi_vit.prediction import geojson
from wsi_vit.prediction.canvas import Canvas
from wsi_vit.prediction.geojson import outline_classes, write_geojson
from wsi_vit.prediction.ome_zarr import ClassMap


def class_map(folder: Path, labels: LabelMap = LABELS) -> ClassMap:
    """600 x 800 pixels of 1.6 base pixels: a square of class 1 on class 0, glass on the left."""
    canvas = Canvas(step=1.6, plane=(1279, 959), mpp=0.5, patch_px=64, stride_px=48)
    target = ClassMap(folder / "m.ome.zarr", canvas, labels)
    target.create()
    ids = np.zeros((600, 800), np.uint8)
    ids[:, :100] = 255
    ids[100:300, 200:500] = 1
    sure = np.stack([np.where(ids == k, (204, 255, 0)[k], 0) for k in range(3)]).astype(np.uint8)
    target.write(ids, sure, top=0, left=0)
    target.build_pyramid()
    return target


def test_outlines_lie_in_base_pixels_and_end_with_the_plane(tmp_path: Path) -> None:
    found = outline_classes(class_map(tmp_path), most_px=10**6, min_area_um2=0)
    ground, square = found.features
    corners = np.array(square["geometry"]["coordinates"][0])
    outer = np.array(ground["geometry"]["coordinates"][0])

    # the middle of the first and last pixel edges, which are half a map pixel from the corner
    assert corners.min(axis=0) == pytest.approx([200 * 1.6, 100 * 1.6])
    assert corners.max(axis=0) == pytest.approx([500 * 1.6, 300 * 1.6])
    assert outer.max(axis=0).tolist() == [1279, 959]
    assert len(ground["geometry"]["coordinates"]) == 2
    assert found.pixel_um == pytest.approx(0.8)


def test_area_and_probability_are_measured(tmp_path: Path) -> None:
    ground, square = outline_classes(class_map(tmp_path), most_px=10**6, min_area_um2=0).features

    assert square["properties"]["measurements"] == {
        "Area µm^2": pytest.approx(200 * 300 * 0.64),
        "Mean probability": 1.0,
    }
    assert ground["properties"]["measurements"]["Mean probability"] == 0.8


def test_the_background_has_no_outline_but_is_a_border(tmp_path: Path) -> None:
    labels = LABELS.model_copy(update={"background": "tumour"})
    found = outline_classes(class_map(tmp_path, labels), most_px=10**6, min_area_um2=0)

    names = [f["properties"]["classification"]["name"] for f in found.features]
    assert names == ["stroma"]


def test_a_map_of_too_many_edges_is_traced_coarser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geojson, "_MOST_EDGES", 2500)
    found = outline_classes(class_map(tmp_path), most_px=10**6, min_area_um2=0)

    assert found.pixel_um == pytest.approx(1.6)
    areas = [f["properties"]["measurements"]["Area µm^2"] for f in found.features]
    assert areas[1] == pytest.approx(200 * 300 * 0.64)


def test_small_parts_are_left_out(tmp_path: Path) -> None:
    target = class_map(tmp_path)
    least = 200 * 300 * 0.64 + 1
    (ground,) = outline_classes(target, most_px=10**6, min_area_um2=least).features
    rings = ground["geometry"]["coordinates"]

    assert len(rings) == 1  # nor is the hole it would leave
    assert shapely.Polygon(rings[0]).is_valid


def test_the_file_names_its_frame_and_the_scanned_bounds(tmp_path: Path) -> None:
    found = outline_classes(class_map(tmp_path), most_px=10**6, min_area_um2=0)
    write_geojson(tmp_path / "a.geojson", found, bounds=Region(10, 20, 300, 400))
    read = json.loads((tmp_path / "a.geojson").read_text())

    assert "full level-0 plane" in read["properties"]["frame"]
    assert read["properties"]["openslide_bounds"] == [10, 20, 300, 400]
    assert read["features"] == found.features
