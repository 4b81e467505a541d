"""Polygons on a slide: measured and drawn by hand-computed examples, repaired, clipped."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wsi_vit.errors import AnnotationError
from wsi_vit.geometry import Region
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.slides.annotations.placing import place
from wsi_vit.slides.annotations.polygons import PolygonAnnotations
from wsi_vit.slides.annotations.scanline import edge_table, fill
from wsi_vit.slides.annotations.shapes import Drawing, Shape

SIZE = (100, 80)
WHOLE = Region(0, 0, 100, 80)
LABELS = LabelMap(
    classes=(
        LabelClass(name="tumour", colour="#d55e00"),
        LabelClass(name="stroma", colour="#0072b2"),
    )
)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


def drawn(*shapes: tuple[str, np.ndarray], size: tuple[int, int] = SIZE) -> PolygonAnnotations:
    drawing = Drawing([Shape((name,), (ring,)) for name, ring in shapes])
    return place(drawing, slide_size=size, labels=LABELS, source=Path("test"))


def test_a_share_is_exact_to_fractions_of_pixels() -> None:
    outline = drawn(("tumour", box(0.25, 0, 10.75, 10)))
    shares = outline.coverage([Region(0, 0, 1, 1), Region(10, 9.5, 1, 1), Region(20, 20, 5, 5)])
    np.testing.assert_allclose(shares[:, 0], [0.75, 0.375, 0])


def test_a_triangle_covers_half_of_its_square() -> None:
    outline = drawn(("stroma", np.array([[0, 0], [10, 0], [0, 10]], float)))
    np.testing.assert_allclose(outline.coverage([Region(0, 0, 10, 10)]), [[0, 0.5]])


def test_shares_of_no_regions_have_a_column_for_each_class() -> None:
    assert drawn(("tumour", box(0, 0, 9, 9))).coverage([]).shape == (0, 2)


SHAPES = (
    ("tumour", box(0, 0, 40, 40)),
    ("stroma", box(10, 10, 30, 30)),
    ("tumour", box(15, 15, 20, 20)),
)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_smaller_outline_counts_in_whatever_order_they_were_drawn(
    order: tuple[int, ...],
) -> None:
    outlines = drawn(*(SHAPES[i] for i in order))
    mask = outlines.mask(WHOLE, width_px=100, height_px=80, other=255)
    assert [(mask == k).sum() for k in (0, 1)] == [1600 - 400 + 25, 400 - 25]
    shares = outlines.coverage([Region(0, 0, 40, 40)])[0]
    np.testing.assert_allclose(shares * 1600, [1225, 375])


def test_of_two_equal_outlines_the_later_counts() -> None:
    outlines = drawn(("tumour", box(0, 0, 10, 10)), ("stroma", box(0, 0, 10, 10)))
    np.testing.assert_allclose(outlines.coverage([Region(0, 0, 10, 10)]), [[0, 1]])
    assert (outlines.mask(WHOLE, width_px=100, height_px=80, other=9)[:10, :10] == 1).all()


def test_an_ignored_area_is_taken_out_of_what_it_lies_in() -> None:
    outlines = drawn(("tumour", box(0, 0, 10, 10)), ("Ignore*", box(2, 2, 4, 4)))
    np.testing.assert_allclose(outlines.coverage([Region(0, 0, 10, 10)]), [[0.96, 0]])
    assert (outlines.mask(WHOLE, width_px=100, height_px=80, other=9) == 0).sum() == 96


def test_overlapping_outlines_of_one_class_are_not_counted_twice() -> None:
    outlines = drawn(("tumour", box(0, 0, 10, 10)), ("tumour", box(5, 0, 16, 10)))
    np.testing.assert_allclose(outlines.coverage([Region(0, 0, 20, 10)]), [[0.8, 0]])


def test_a_bow_tie_is_repaired_and_counted() -> None:
    tie = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], float)
    outlines = drawn(("tumour", tie))
    assert outlines.notes == ("1 outline repaired, crossing or touching itself: tumour at 0 0",)
    np.testing.assert_allclose(outlines.coverage([Region(0, 0, 10, 10)]), [[0.5, 0]])


def test_outlines_without_an_area_are_counted_and_alone_are_an_error() -> None:
    flat = np.array([[1, 1], [5, 5], [1, 1]], float)
    outlines = drawn(("tumour", flat), ("tumour", box(0, 0, 5, 5)))
    assert outlines.notes == ("1 outline left out, enclosing no area: tumour at 1 1",)
    for ring in (flat, np.array([[1, 1], [5, 5], [9, 9], [1, 1]], float)):
        with pytest.raises(AnnotationError, match="encloses an area"):
            drawn(("tumour", ring))


def test_what_reaches_beyond_the_slide_is_cut_off_and_told() -> None:
    outlines = drawn(("tumour", box(90, 0, 110, 10)), ("tumour", box(200, 0, 210, 10)))
    assert outlines.notes == (
        "1 outline left out, wholly outside the slide: tumour at 200 0",
        "1 outline cut off at the slide's edge (50 % of the area): tumour at 90 0",
    )


def test_outlines_wholly_outside_are_an_error_that_says_where_they_lie() -> None:
    with pytest.raises(AnnotationError, match=r"x 500 to 510.*100 x 80.*another slide"):
        drawn(("tumour", box(500, 0, 510, 10)))


def test_swapped_axes_are_recognised() -> None:
    with pytest.raises(AnnotationError, match="x and y swapped"):
        drawn(("tumour", box(5, 300, 60, 900)), size=(1000, 80))


def test_outlines_that_share_edges_leave_no_gap_and_share_no_pixel() -> None:
    corners = np.array([[0, 0], [100, 0], [100, 80], [0, 80]], float)
    middle = np.array([37.123, 41.987])
    wedges = [np.array([corners[i], corners[(i + 1) % 4], middle]) for i in range(4)]
    outlines = drawn(*(("tumour", wedge) for wedge in wedges))
    for width, height in ((100, 80), (33, 27), (200, 160)):
        mask = outlines.mask(WHOLE, width_px=width, height_px=height, other=255)
        assert (mask == 0).all()
    counts = np.zeros((80, 100), int)
    table = edge_table(outlines.polygons)
    for index in range(4):
        one = np.zeros((80, 100), np.uint8)
        fill(one, table[index], WHOLE, value=1)
        counts += one
    assert (counts == 1).all()


def test_a_checkerboard_comes_back_without_an_offset_at_every_scale() -> None:
    squares = [box(x, y, x + 5, y + 5) for x in range(0, 100, 5) for y in range(0, 80, 5)]
    names = ["tumour" if (s[0].sum() / 5) % 2 == 0 else "stroma" for s in squares]
    outlines = drawn(*zip(names, squares, strict=True))
    for scale in (1, 2, 5):
        mask = outlines.mask(WHOLE, width_px=100 * scale, height_px=80 * scale, other=255)
        y, x = np.indices(mask.shape) // (5 * scale)
        np.testing.assert_array_equal(mask, (x + y) % 2)


def test_a_region_off_the_pixel_grid_samples_its_own_centres() -> None:
    outline = drawn(("tumour", box(10.5, 0, 20.5, 80)))
    mask = outline.mask(Region(8.2, 4, 6, 2), width_px=6, height_px=2, other=9)
    np.testing.assert_array_equal(mask, [[9, 9, 0, 0, 0, 0]] * 2)  # centres from 8.7 on


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-160, 960), st.integers(-160, 800)), min_size=3, max_size=12),
    st.floats(0, 60),
    st.floats(0, 50),
)
def test_any_outline_is_drawn_as_shapely_finds_its_pixel_centres(
    eighths: list[tuple[int, int]], x: float, y: float
) -> None:
    corners = np.array(eighths) / 8
    whole = shapely.make_valid(shapely.Polygon(corners), method="structure")
    assume(whole.intersection(shapely.box(0, 0, *SIZE)).area > 0.1)
    outline = drawn(("tumour", corners))
    region = Region(x, y, 23, 17)
    mask = outline.mask(region, width_px=23, height_px=17, other=255)
    px, py = np.meshgrid(x + np.arange(23) + 0.5, y + np.arange(17) + 0.5)
    polygon = outline.polygons[0]
    expected = shapely.contains_xy(polygon, px, py)
    unsure = shapely.distance(polygon.boundary, shapely.points(px, py)) < 1e-9
    assert ((mask == 0) == expected)[~unsure].all()
    share = outline.coverage([region])[0, 0]
    exact = polygon.intersection(shapely.box(x, y, x + 23, y + 17)).area / (23 * 17)
    assert share == pytest.approx(exact, abs=1e-9)
