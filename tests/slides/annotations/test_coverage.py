"""Shares of tiles against a slow reference, and a hundred thousand outlines."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_vit.geometry import Region
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.prediction.canvas import Canvas
from wsi_vit.prediction.geojson import outline_classes, write_geojson
from wsi_vit.prediction.ome_zarr import ClassMap
from wsi_vit.slides.annotations import read_annotations
from wsi_vit.slides.annotations.placing import place
from wsi_vit.slides.annotations.polygons import PolygonAnnotations
from wsi_vit.slides.annotations.shapes import Drawing, Shape

LABELS = LabelMap(
    classes=(
        LabelClass(name="tumour", colour="#d55e00"),
        LabelClass(name="stroma", colour="#0072b2"),
    )
)
SIDE = 32
FINE = 16
"""Samples a base pixel along each axis of the reference."""

CORNERS = st.tuples(st.integers(-4, SIDE + 4), st.integers(-4, SIDE + 4))


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Boxes and triangles with a hole, of either class, positive or negative, over the edge."""
    (x0, y0), (x1, y1) = draw(CORNERS), draw(CORNERS)
    outline = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)][: draw(st.integers(3, 4))]
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    hole = middle + (np.array(outline, float) - middle) * draw(st.sampled_from([0.0, 0.25, 0.5]))
    return Shape(
        names=(draw(st.sampled_from(["tumour", "stroma", "ignore"])),),
        rings=(np.array(outline, float), hole),
        layer=draw(st.integers(0, 1)),
        is_hole=draw(st.sampled_from([False, False, False, True])),
    )


def sampled(drawn: list[Shape]) -> np.ndarray:
    """Return the class of each sample point: every shape asked for every point, one by one."""
    step = (np.arange(SIDE * FINE) + 0.5) / FINE
    x, y = np.meshgrid(step, step)
    inside, areas = [], []
    for item in drawn:
        rings = [shapely.Polygon(ring) for ring in item.rings]
        outline, hole = (shapely.contains_xy(ring, x, y) for ring in rings)
        inside.append(outline & ~hole)
    for item, found in zip(drawn, inside, strict=True):
        for other, cut in zip(drawn, inside, strict=True):
            if other.is_hole and other.layer == item.layer and other is not item:
                found &= ~cut
        areas.append(found.sum())
    classes = {"tumour": 0, "stroma": 1, "ignore": 2}
    picture = np.full(x.shape, 2)
    for index in sorted(range(len(drawn)), key=lambda i: (-areas[i], i)):
        if not drawn[index].is_hole:
            picture[inside[index]] = classes[drawn[index].names[0]]
    return picture


@settings(max_examples=50, deadline=None)
@given(st.lists(shapes(), min_size=1, max_size=6), st.integers(3, 11))
def test_shares_of_overlapping_outlines_are_what_a_slow_count_of_points_finds(
    drawn: list[Shape], columns: int
) -> None:
    picture = sampled(drawn)
    if not (picture < 2).any() or not any(
        not item.is_hole and item.names[0] != "ignore" for item in drawn
    ):
        return
    exact = place(Drawing(drawn), slide_size=(SIDE, SIDE), labels=LABELS, source="test")
    areas = np.sort(shapely.area(exact.polygons))
    if (np.diff(areas) < SIDE / FINE).any():
        return  # the reference cannot tell which of two nearly equal outlines is the smaller
    side = SIDE / columns
    regions = [
        Region(x * side, y * side, side, side) for y in range(columns) for x in range(columns)
    ]
    found = exact.coverage(regions)
    for region, share in zip(regions, found, strict=True):
        part = picture[
            round(region.y * FINE) : round(region.bottom * FINE),
            round(region.x * FINE) : round(region.right * FINE),
        ]
        slack = 6 / (side * FINE)
        assert share == pytest.approx([(part == k).mean() for k in (0, 1)], abs=slack)


COLUMNS, PITCH = 316, 32.0
"""Nearly 10^5 nuclei, a hole in each, on one outline that holds them all."""


def nuclei() -> list[Shape]:
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    x, y = np.meshgrid(np.arange(COLUMNS), np.arange(COLUMNS))
    middles = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * PITCH
    return [
        Shape(("tumour",), (middle + 10 * circle, middle + 4 * circle[::2])) for middle in middles
    ]


def regular(radius: float, corners: int) -> float:
    return corners / 2 * np.sin(2 * np.pi / corners) * radius**2


def test_a_hundred_thousand_outlines_are_all_counted_and_each_tile_looks_only_nearby() -> None:
    plane = COLUMNS * PITCH
    whole = Shape(("stroma",), (np.array([[0, 0], [plane, 0], [plane, plane], [0, plane]]),))
    drawn = place(
        Drawing([*nuclei(), whole]), slide_size=(int(plane),) * 2, labels=LABELS, source="test"
    )
    assert len(drawn.polygons) == COLUMNS**2 + 1
    assert drawn.notes == ()
    tile = 4 * PITCH
    regions = [Region(x * tile, y * tile, tile, tile) for x in range(10) for y in range(10)]
    ring = regular(10, 8) - regular(4, 4)
    expected = np.array([ring, PITCH**2 - ring]) / PITCH**2
    np.testing.assert_allclose(drawn.coverage(regions), np.tile(expected, (100, 1)), atol=1e-9)
    near = [len(drawn._pieces.tree.query(shapely.box(0, 0, r.width, r.height))) for r in regions]
    assert max(near) < 200, "of a hundred thousand"


def test_many_negative_outlines_cut_only_what_they_touch() -> None:
    """Ten thousand outlines and as many holes: each is cut by its own."""
    grid = [(x, y) for x in range(100) for y in range(100)]
    square = np.array([[0, 0], [8, 0], [8, 8], [0, 8]], float)
    solid = [Shape(("tumour",), (square + 10 * np.array(at),)) for at in grid]
    holes = [Shape(("tumour",), (square / 2 + 10 * np.array(at),), is_hole=True) for at in grid]
    drawn = place(Drawing([*solid, *holes]), slide_size=(1000, 1000), labels=LABELS, source="test")
    assert len(drawn.polygons) == 10_000
    shares = drawn.coverage([Region(0, 0, 1000, 1000), Region(500, 500, 10, 10)])
    np.testing.assert_allclose(shares[:, 0], 0.48)


def test_what_a_prediction_writes_is_read_back_to_the_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    coarse = rng.choice(np.array([0, 1, 255], np.uint8), (12, 16))
    classes = np.kron(coarse, np.ones((6, 6), np.uint8))
    canvas = Canvas(step=1.6, plane=(153, 115), mpp=0.5, patch_px=64, stride_px=48)
    target = ClassMap(tmp_path / "map.ome.zarr", canvas, LABELS)
    target.create()
    sure = np.stack([np.where(classes == k, 200, 0) for k in (0, 1)]).astype(np.uint8)
    target.write(classes, sure, top=0, left=0)
    target.build_pyramid()
    path = tmp_path / "annotations.geojson"
    written = outline_classes(target, most_px=10**6, min_area_um2=0)
    write_geojson(path, written, bounds=None)

    drawn = read_annotations(path, slide_size=(153, 115), labels=LABELS)

    assert isinstance(drawn, PolygonAnnotations)
    assert drawn.notes == ()
    assert len(drawn.polygons) == len(written.features)
    whole = Region(0, 0, 16 * 6 * 1.6, 12 * 6 * 1.6)
    mask = drawn.mask(whole, width_px=96, height_px=72, other=255)
    inside = np.s_[:71, :95]  # the plane ends within the last pixels
    np.testing.assert_array_equal(mask[inside], classes[inside])
    stated = [0.0, 0.0]
    for feature in written.features:
        name = feature["properties"]["classification"]["name"]
        stated[LABELS.names.index(name)] += feature["properties"]["measurements"]["Area µm^2"]
    shares = drawn.coverage([Region(0, 0, 153, 115)])[0] * 153 * 115 * 0.5**2
    assert shares == pytest.approx(stated, rel=0.05), "corners are cut, and so are their opposites"
