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


def test_a_name_wider_than_the_picture_widens_the_sheet() -> None:
    long = LegendEntry(
        1, "#0072b2", "a class whose name is far longer than any picture is wide" * 2
    )
    sheet = draw_sheet(Heading("t"), [Panel("p", GREY)], [long])
    right = np.asarray(sheet)[:, -28:]

    assert sheet.width > 900
    assert (right == 255).all()  # the margin: nothing is cut at the edge


def test_a_long_title_loses_its_middle_and_keeps_its_end() -> None:
    def title(name: str) -> np.ndarray:
        return np.asarray(draw_sheet(Heading(name), [Panel("p", GREY)], class_legend(LABELS)))[:60]

    one, other = (title("frame_" * 40 + end) for end in ("0001.png", "0002.png"))

    assert (one != other).any()
    assert (one[:, -28:] == 255).all()


def test_ids_are_written_inside_their_class() -> None:
    ids = np.zeros((300, 400), np.uint8)
    ids[100:180, 200:300] = 1
    grey = np.full((300, 400, 3), 200, np.uint8)
    shown = overlay(grey, ids, LABELS)
    inside = shown[102:178, 202:298].reshape(-1, 3)
    plain = (grey[0, 0] / 2 + LABELS.colours[1] / 2).round()

    assert (inside != plain).any(axis=1).sum() > 300


def test_a_class_of_thin_lines_is_drawn_in_its_full_colour_and_not_hidden_by_a_number() -> None:
    labels = LABELS.model_copy(update={"background": "tumour"})
    ids = np.zeros((200, 300), np.uint8)
    ids[99:101] = 2
    shown = overlay(GREY, ids, labels)

    assert (shown[99:101] == LABELS.colours[2]).all()
    assert (shown[:90] == GREY[:90]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_the_thinnest_pictures_are_drawn(shape: tuple[int, int]) -> None:
    shown = overlay(np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8), LABELS)
    sheet = draw_sheet(Heading("t"), [Panel("p", shown)] * 2, class_legend(LABELS))

    assert shown.shape == (*shape, 3)
    assert sheet.width >= 460


@pytest.mark.parametrize(("colour", "ink"), [("#ffffff", "#1a1f26"), ("#0072b2", "#ffffff")])
def test_ink_stands_out(colour: str, ink: str) -> None:
    assert readable_on(colour) == ink
