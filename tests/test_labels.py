"""The label map: names, ids, sources and colours meet here and nowhere else."""

import numpy as np
import pytest
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
