"""Outlines: every pixel's centre lies in exactly the outline of its own class."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from wsi_vit.prediction.outlines import Outline, trace


def drawn(outlines: list[Outline], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw outlines by pixel centres; asserts that no centre lies in two."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    ids = np.full(shape, 255, np.uint8)
    for outline in outlines:
        inside = shapely.contains_xy(outline.polygon, columns, rows)
        assert (ids[inside] == 255).all()
        ids[inside] = outline.class_id
    return ids


maps = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 1, 2, 255]),
)


@settings(max_examples=150, deadline=None)
@given(maps, st.integers(1, 3))
def test_drawing_the_outlines_gives_the_map_back(ids: NDArray[np.uint8], zoom: int) -> None:
    ids = ids.repeat(zoom, axis=0).repeat(zoom, axis=1)
    outlines = trace(ids, ids)

    assert (drawn(outlines, (ids.shape[0], ids.shape[1])) == ids).all()
    assert all(outline.polygon.is_valid for outline in outlines)
    assert sum(outline.pixels for outline in outlines) == (ids != 255).sum()


def test_a_disc_needs_a_third_of_its_pixel_edges_and_keeps_its_area() -> None:
    rows, columns = np.mgrid[:400, :400]
    ids = np.where((rows - 200) ** 2 + (columns - 200) ** 2 < 150**2, 1, 255).astype(np.uint8)
    (disc,) = trace(ids, ids)

    assert shapely.get_num_coordinates(disc.polygon) < 8 * 150 / 3
    assert abs(disc.polygon.area / disc.pixels - 1) < 0.002


def test_outlines_stay_within_a_pixel_of_the_map() -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(120, 120)), 4)
    ids = (noise > 0).astype(np.uint8)
    for outline in trace(ids, ids):
        inside = ndimage.label(ids == outline.class_id)[0]
        point = outline.polygon.representative_point()
        part = inside == inside[int(point.y), int(point.x)]
        top, left = np.nonzero(part)
        exact = shapely.union_all(shapely.box(left, top, left + 1, top + 1))
        assert shapely.hausdorff_distance(exact.boundary, outline.polygon.boundary) < 0.75


def test_a_hole_is_a_hole_and_a_pocket_is_closed_at_its_corner() -> None:
    ring = np.ones((5, 5), np.uint8)
    ring[2, 2] = 255
    pocket = ring.copy()
    pocket[1, 1] = 255  # touches the hole at a corner only

    assert len(trace(ring, ring)[0].polygon.interiors) == 1
    assert (drawn(trace(pocket, pocket), (5, 5)) == pocket).all()


def test_small_parts_and_small_holes_are_left_out() -> None:
    ids = np.full((20, 20), 255, np.uint8)
    ids[2:18, 2:12] = 0
    ids[5, 5] = 1  # a speck inside: neither a part nor a hole
    ids[2, 16] = 2

    (kept,) = trace(ids, ids, least_pixels=4)

    assert kept.class_id == 0
    assert len(kept.polygon.interiors) == 0


def test_each_outline_has_the_mean_of_its_own_pixels() -> None:
    ids = np.array([[0, 255, 0], [0, 255, 1]], np.uint8)
    values = np.array([[10, 99, 200], [20, 99, 7]], np.uint8)

    assert [(o.class_id, o.pixels, o.mean_value) for o in trace(ids, values)] == [
        (0, 2, 15.0),
        (0, 1, 200.0),
        (1, 1, 7.0),
    ]


def test_an_empty_map_has_no_outlines() -> None:
    empty = np.full((9, 4), 255, np.uint8)

    assert trace(empty, empty) == []
