"""What becomes of outlines that are drawn badly: hand-made tables; nothing goes without a note."""

from typing import Any

import numpy as np
import pytest

from wsi_vit.geometry import Region
from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.slides.annotations.placing import place
from wsi_vit.slides.annotations.polygons import PolygonAnnotations
from wsi_vit.slides.annotations.shapes import Drawing, Shape

LABELS = LabelMap(classes=(LabelClass(name="tumour", colour="#d55e00"),))
SIZE = (100, 80)
WHOLE = Region(0, 0, 100, 80)
Ring = list[tuple[float, float]]


def box(left: float, top: float, right: float, bottom: float) -> Ring:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def shape(*rings: Ring, **more: Any) -> Shape:
    return Shape(("tumour",), tuple(np.array(ring, float).reshape(-1, 2) for ring in rings), **more)


def placed(*shapes: Shape) -> PolygonAnnotations:
    return place(Drawing(list(shapes)), slide_size=SIZE, labels=LABELS, source="test")


def area(drawn: PolygonAnnotations) -> float:
    return float(drawn.coverage([WHOLE])[0, 0] * 8000)


SQUARE = box(0, 0, 10, 10)
ODD = {
    "a bow tie keeps both wings": ([(0, 0), (10, 10), (10, 0), (0, 10)], 50),
    "twice round counts once": (SQUARE * 2, 100),
    "a loop within, the same way round, is covered": (
        [(0, 0), (10, 0), (10, 10), (0, 10), (0, 0), (5, 1), (9, 1), (9, 5), (0, 0)], 100,
    ),
    "a hole on a bridge is a hole": (
        [(0, 0), (10, 0), (10, 10), (0, 10), (0, 5), (2, 5), (2, 8), (8, 8), (8, 2), (2, 2), (2, 5),
         (0, 5)], 64,
    ),
    "two squares that touch in a corner": (
        [(0, 0), (5, 0), (5, 5), (10, 5), (10, 10), (5, 10), (5, 5), (0, 5)], 50,
    ),
    "a spike has no area": ([(0, 0), (10, 0), (10, 10), (10, 30), (10, 10), (0, 10)], 100),
}  # fmt: skip


@pytest.mark.parametrize(("ring", "expected"), ODD.values(), ids=ODD)
def test_an_odd_outline_keeps_what_it_goes_round_and_is_told(ring: Ring, expected: float) -> None:
    for way in (ring, ring[::-1]):
        drawn = placed(shape(way))
        assert area(drawn) == pytest.approx(expected)
        (note,) = drawn.notes
        assert note.startswith("1 outline repaired, crossing or touching itself: tumour at")


HOLES = {
    "within": ([box(2, 2, 4, 4)], 96),
    "across the outline": ([box(8, 8, 20, 20)], 96),
    "outside": ([box(50, 50, 60, 60)], 100),
    "two that overlap": ([box(2, 2, 6, 6), box(4, 4, 8, 8)], 100 - 28),
    "two that share an edge": ([box(2, 2, 4, 4), box(4, 2, 6, 4)], 92),
    "one twice": ([box(2, 2, 4, 4)] * 2, 96),
    "on the edge": ([box(0, 2, 4, 4)], 92),
}


@pytest.mark.parametrize(("holes", "expected"), HOLES.values(), ids=HOLES)
def test_holes_are_cut_out_wherever_they_lie(holes: list[Ring], expected: float) -> None:
    assert area(placed(shape(SQUARE, *holes))) == pytest.approx(expected)


def test_every_way_to_have_no_area_is_left_out_and_named() -> None:
    flat = ([], [(1, 1)], [(1, 1), (5, 5)], [(2, 2), (5, 5), (9, 9)], [(3, 3)] * 20)
    drawn = placed(shape(SQUARE), *(shape(ring) for ring in flat))
    assert area(drawn) == pytest.approx(100)
    assert drawn.notes == (
        "5 outlines left out, enclosing no area: tumour without corners, tumour at 1 1, "
        "tumour at 1 1, tumour at 2 2 and 1 more",
    )


def test_a_hole_without_area_is_counted() -> None:
    drawn = placed(shape(SQUARE, [(1, 1), (2, 2)], []))
    assert area(drawn) == pytest.approx(100)
    assert drawn.notes == ("2 holes left out, enclosing no area",)


def test_negative_outlines_cut_their_own_layer_and_what_they_did_is_told() -> None:
    drawn = placed(
        shape(SQUARE, layer=1),
        shape(box(20, 0, 30, 10), layer=1),
        shape(box(40, 0, 50, 10), layer=2),
        shape(box(5, 0, 10, 10), layer=1, is_hole=True),
        shape(box(18, 0, 32, 12), layer=1, is_hole=True),
        shape(box(40, 0, 50, 10), layer=1, is_hole=True),
    )
    assert area(drawn) == pytest.approx(50 + 100)
    assert drawn.notes == (
        "1 outline left out, taken out whole by negative ones: tumour at 20 0",
        "1 outline left out, negative with nothing of its layer below: tumour at 40 0",
    )


def test_negative_outlines_that_overlap_cut_once() -> None:
    holes = [shape(box(x, 2, x + 4, 6), is_hole=True) for x in (1, 3, 5)]
    assert area(placed(shape(SQUARE), *holes)) == pytest.approx(100 - 8 * 4)
