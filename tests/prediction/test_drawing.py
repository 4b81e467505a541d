"""Sheets: legends complete, scale bars round, classes legible without their colours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.prediction.colours import LABELS
from wsi_vit.labels import LabelMap
from wsi_vit.prediction.drawing import (
    Heading,
    LegendEntry,
    Panel,
    class_legend,
    draw_sheet,
    overlay,
    readable_on,
    round_length,
)

GREY = np.full((200, 300, 3), 200, np.uint8)


def halves() -> np.ndarray:
    ids = np.zeros((200, 300), np.uint8)
    ids[:, 150:] = 1
    ids[:40] = 255
    return ids


@given(st.floats(0.5, 1e6))
def test_scale_bars_have_round_lengths(most: float) -> None:
    length = round_length(most)

    assert most / 2.5 - 1e-9 <= length <= most * (1 + 1e-9)
    assert float(f"{length:e}"[0]) in {1, 2, 5}


def test_classes_are_tinted_and_what_was_not_computed_is_faded() -> None:
    shown = overlay(GREY, halves(), LABELS)

    assert (shown[100, 100] == (GREY[0, 0] / 2 + LABELS.colours[0] / 2).round()).all()
    assert (shown[5, 5] == 225).all()
    assert (shown[100, 150] == LABELS.colours[1]).all()  # the border between them


def test_the_background_is_left_as_it_is() -> None:
    labels = LABELS.model_copy(update={"background": "tumour"})
    shown = overlay(GREY, np.zeros((200, 300), np.uint8), labels)

    assert (shown == GREY).all()


def test_each_class_carries_its_number() -> None:
    """A map of one class differs from a plain tint where its id is written."""
    ids = np.ones((200, 300), np.uint8)
    shown = overlay(GREY, ids, LABELS)
    plain = (GREY[0, 0] / 2 + LABELS.colours[1] / 2).round()
    marked = (shown != plain).any(axis=2)

    assert 300 < marked.sum() < 10_000
    assert not marked[:20].any()


def test_the_legend_has_id_colour_and_name_of_every_class() -> None:
    legend = class_legend(LABELS, ["1 %", "2 %", "3 %"])

    assert [(entry.number, entry.colour, entry.name) for entry in legend] == [
        (3, "#d55e00", "tumour"),
        (7, "#56b4e9", "stroma"),
        (1, "#f0e442", "mucus"),
    ]
    labels = LabelMap(classes=LABELS.classes, background="stroma")
    assert [entry.note for entry in class_legend(labels)] == ["", "not tinted", ""]


def test_panels_stand_beside_each_other_unless_they_are_wide() -> None:
    panels = [Panel("one", GREY), Panel("two", GREY)]
    wide = [Panel("one", GREY[:50]), Panel("two", GREY[:50])]
    legend = class_legend(LABELS)

    assert draw_sheet(Heading("t"), panels, legend).width > 600
    assert draw_sheet(Heading("t"), wide, legend).width < 600


def test_a_long_legend_wraps_and_a_long_title_is_cut() -> None:
    many = [LegendEntry(n, "#0072b2", f"a class with a long name {n}") for n in range(12)]
    few = draw_sheet(Heading("t"), [Panel("p", GREY)], many[:1])
    all_of_them = draw_sheet(Heading("t" * 500, "s"), [Panel("p", GREY)], many)

    assert all_of_them.width == few.width
    assert all_of_them.height > few.height + 11 * 34


def test_the_same_sheet_has_the_same_bytes() -> None:
    one, other = (
        draw_sheet(Heading("t", "µm²"), [Panel("p", GREY)], class_legend(LABELS), um_per_px=3.0)
        for _ in range(2)
    )

    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(("colour", "ink"), [("#ffffff", "#1a1f26"), ("#0072b2", "#ffffff")])
def test_ink_stands_out(colour: str, ink: str) -> None:
    assert readable_on(colour) == ink
