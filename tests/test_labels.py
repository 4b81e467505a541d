"""The label map: names, ids, sources and colours meet here and nowhere else."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from wsi_vit.errors import LabelError
from wsi_vit.labels import IGNORE_ID, LabelClass, LabelMap

LABELS = LabelMap(
    classes=(
        LabelClass(name="other", source=(0,), colour="#000000"),
        LabelClass(name="tumour", source=("Tumor", "carcinoma", 7), export_id=40, colour="#d55e00"),
        LabelClass(name="person", source=(8, 9), export_id=4, colour="#0072b2"),
    ),
    background="other",
)


def test_source_ids_gather_into_training_ids_and_the_rest_becomes_other() -> None:
    mask = np.array([[0, 7, 8, 9, 150]], np.uint8)

    assert LABELS.narrow(mask, other=0).tolist() == [[0, 1, 2, 2, 0]]
    assert LABELS.narrow(mask, other=IGNORE_ID).tolist() == [[0, 1, 2, 2, IGNORE_ID]]


def test_ignored_pixels_stay_ignored_and_wide_masks_are_read() -> None:
    mask = np.array([[IGNORE_ID, 7, 1000]], np.int32)

    assert LABELS.narrow(mask, other=0).tolist() == [[IGNORE_ID, 1, 0]]


def test_an_empty_mask_stays_empty() -> None:
    assert LABELS.narrow(np.zeros((0, 3), np.uint8), other=0).shape == (0, 3)


def test_names_of_annotations_are_found_whatever_their_case_and_dashes() -> None:
    for spelling in ("tumor", " TUMOR ", "Carcinoma"):
        assert LABELS.id_of_source(spelling) == 1
    spaced = LabelMap(classes=(LabelClass(name="loose_stroma", colour="#000000"),))
    assert spaced.id_of_source("Loose-Stroma") == 0
    assert LABELS.id_of_source("gland") is None
    assert LABELS.id_of_source(9) == 2


def test_an_unknown_name_lists_the_near_ones() -> None:
    assert LABELS.id_of("person") == 2
    with pytest.raises(LabelError, match="tumour"):
        LABELS.id_of("tumor")


def test_export_ids_never_are_training_ids_and_ignored_stays_255() -> None:
    ids = np.array([[0, 1, 2, IGNORE_ID]], np.uint8)

    assert LABELS.export_ids == (0, 40, 4)
    assert LABELS.export(ids).tolist() == [[0, 40, 4, IGNORE_ID]]


def test_a_painted_mask_has_the_classes_colours_and_grey_where_ignored() -> None:
    painted = LABELS.paint(np.array([[1, IGNORE_ID]], np.uint8))

    assert painted.tolist() == [[[0xD5, 0x5E, 0x00], [128, 128, 128]]]
    assert LABELS.colours.shape == (3, 3)


def test_the_background_has_an_id_only_where_it_is_named() -> None:
    assert LABELS.background_id == 0
    assert LABELS.model_copy(update={"background": None}).background_id is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "other"}, "class name used twice"),
        ({"export_id": 40}, "export id used twice"),
        ({"source": ("CARCINOMA",)}, "source used twice"),
        ({"colour": "red"}, "pattern"),
        ({"export_id": 255}, "less than or equal to 254"),
    ],
)
def test_an_ambiguous_map_is_refused(change: dict[str, object], complaint: str) -> None:
    extra = {"name": "new", "colour": "#ffffff", **change}

    with pytest.raises(ValidationError, match=complaint):
        LabelMap.model_validate({"classes": [*LABELS.model_dump()["classes"], extra]})


def test_a_background_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValidationError, match="is none of"):
        LabelMap.model_validate({**LABELS.model_dump(), "background": "glass"})


def test_a_map_survives_its_own_json() -> None:
    assert LabelMap.model_validate_json(LABELS.model_dump_json()) == LABELS
    assert len(LABELS) == 3


def test_ids_no_byte_can_hold_become_other_whatever_their_sign_or_size() -> None:
    wide = np.array([[-1, -249, 7, 70_000, 2**31 - 1]], np.int64)

    assert LABELS.narrow(wide, other=0).tolist() == [[0, 0, 1, 0, 0]]
    assert LABELS.narrow(wide, other=IGNORE_ID).tolist() == [
        [IGNORE_ID] * 2 + [1] + [IGNORE_ID] * 2
    ]


def test_a_huge_id_costs_no_memory() -> None:
    mask = np.array([[4_000_000_000, 8]], np.uint32)

    tracemalloc.start()
    narrowed = LABELS.narrow(mask, other=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert narrowed.tolist() == [[0, 2]]
    assert peak < 1_000_000


def test_a_source_above_255_is_gathered_and_255_may_be_one() -> None:
    labels = LabelMap(
        classes=(
            LabelClass(name="white", source=(255,), colour="#ffffff"),
            LabelClass(name="far", source=(4000,), colour="#000000"),
        )
    )

    assert labels.narrow(np.array([[255, 4000, 3]], np.uint16), other=IGNORE_ID).tolist() == [
        [0, 1, IGNORE_ID]
    ]


@pytest.mark.parametrize("source", [-1, 65_536, True, 1.5, None])
def test_a_source_that_no_mask_and_no_annotation_can_hold_is_refused(source: object) -> None:
    with pytest.raises(ValidationError):
        LabelClass.model_validate({"name": "a", "source": [source], "colour": "#000000"})


@pytest.mark.parametrize(
    ("first", "second"),
    [("loose_stroma", "Loose Stroma"), ("LOOSE-stroma", "loose  stroma"), ("STRASSE", "straße")],
)
def test_spellings_that_an_annotation_cannot_tell_apart_are_refused(
    first: str, second: str
) -> None:
    classes = [{"name": name, "colour": "#000000"} for name in (first, second)]

    with pytest.raises(ValidationError, match="source used twice"):
        LabelMap.model_validate({"classes": classes})


def test_an_export_id_that_another_classs_training_id_already_has_is_refused() -> None:
    classes = [
        {"name": "a", "export_id": 1, "colour": "#000000"},
        {"name": "b", "colour": "#ffffff"},
    ]

    with pytest.raises(ValidationError, match="export id used twice: 1"):
        LabelMap.model_validate({"classes": classes})


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, (5, 7)))
def test_narrowing_agrees_with_a_look_at_every_pixel(mask: np.ndarray) -> None:
    expected = [
        IGNORE_ID if value == IGNORE_ID else (LABELS.id_of_source(int(value)) or 0)
        for value in mask.ravel()
    ]

    assert LABELS.narrow(mask, other=0).ravel().tolist() == expected
    assert LABELS.narrow(mask.astype(np.int64), other=0).ravel().tolist() == expected


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, (4, 4), elements=st.sampled_from([0, 1, 2, IGNORE_ID])))
def test_what_was_exported_reads_back_as_it_was(ids: np.ndarray) -> None:
    exported = LABELS.export(ids)
    reader = LabelMap(
        classes=tuple(
            LabelClass(name=item.name, source=(number,), colour=item.colour)
            for item, number in zip(LABELS.classes, LABELS.export_ids, strict=True)
        )
    )

    assert np.array_equal(reader.narrow(exported, other=9), ids)


LISTED = {"Wall": 1, "windowpane": 9, "window": 9, "door": 15, "screen-door": 59}


def named(*sources: tuple[str, ...] | tuple[int, ...]) -> LabelMap:
    """Background, and a class of each of some sources."""
    rest = LabelClass(name="background", colour="#000000")
    kept = [
        LabelClass(name=f"c{place}", source=source, colour="#ffffff")
        for place, source in enumerate(sources)
    ]
    return LabelMap(classes=(rest, *kept), background="background")


def test_names_are_resolved_by_a_sources_own_list_as_they_are_compared() -> None:
    resolved = named(("wall",), ("Screen_Door", "WINDOW", "windowpane")).resolved(LISTED)
    assert [item.source for item in resolved.classes] == [("background",), (1,), (59, 9)]
    assert resolved.id_of_source(9) == 2
    assert resolved.narrow(np.array([[1, 9], [59, 2]]), other=0).tolist() == [[1, 2], [2, 0]]


def test_resolving_tells_all_that_the_list_lacks_with_near_names() -> None:
    with pytest.raises(LabelError) as caught:
        named(("windwo", "wall"), (15, 77)).resolved(LISTED)
    assert "2 sources" in str(caught.value)
    assert "c0: the list has no 'windwo', but window, windowpane" in str(caught.value)
    assert "c1: the list has no id 77" in str(caught.value)


def test_one_thing_in_two_classes_is_refused_by_whatever_names() -> None:
    with pytest.raises(LabelError, match="id 9 is gathered twice: c0 by 'window', c1 by 9"):
        named(("window",), (9,)).resolved(LISTED)


def test_a_background_that_gathers_by_name_must_be_in_the_list() -> None:
    labels = named(("wall",))
    sky = labels.classes[0].model_copy(update={"source": ("sky",)})
    with pytest.raises(LabelError, match="background: the list has no 'sky'"):
        LabelMap(classes=(sky, labels.classes[1]), background="background").resolved(LISTED)
