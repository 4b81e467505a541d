"""The card of a dataset is read by people and by the hub; no name may break its tables."""

from typing import Any

import pytest
import yaml

from wsi_vit.datasets.card import card_text

CLASS = {"examples": 4, "patients": 2, "amount": 9}


def facts(**changes: Any) -> dict[str, Any]:
    classes = changes.get("classes", ["tumour", "stroma"])
    split = {"examples": 4, "slides": 2, "patients": 2, "classes": dict.fromkeys(classes, CLASS)}
    return {
        "name": "demo",
        "task": "classification",
        "classes": classes,
        "examples": 12,
        "slides": 6,
        "patients": 6,
        "patients_known": True,
        "unlabelled": 1,
        "left_out": 0,
        "digest": "d1",
        "split_kind": "patients",
        "store": "pixels",
        "split_digest": "s1",
        "estimate": "unseen patients",
        "splits": dict.fromkeys(("train", "validation", "test"), split),
        "warnings": [],
        **changes,
    }


def test_a_class_with_a_bar_in_its_name_keeps_the_table_whole() -> None:
    lines = card_text(facts(classes=["CD3|CD8", "rest"])).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| split"))

    columns = {line.replace(r"\|", "").count("|") for line in lines[start : start + 5]}

    assert columns == {7}
    assert r"CD3\|CD8" in lines[start]


@pytest.mark.parametrize(
    ("examples", "size"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (2_000_000, "n>1M")],
)
def test_the_hub_is_told_the_size(examples: int, size: str) -> None:
    head = yaml.safe_load(card_text(facts(examples=examples)).split("---")[1])

    assert head["size_categories"] == [size]
    assert head["pretty_name"] == "demo"


@pytest.mark.parametrize("name", ["a: b", "- x", "no", "'q\"", "#1", "50%"])
def test_a_name_that_yaml_would_misread_comes_back_as_it_was(name: str) -> None:
    head = yaml.safe_load(card_text(facts(name=name)).split("---")[1])

    assert head["pretty_name"] == name


def test_warnings_are_shown_and_unknown_patients_are_said() -> None:
    text = card_text(facts(warnings=["Leakage cannot be excluded."], patients_known=False))

    assert "## Beware\n\n- Leakage cannot be excluded." in text
    assert "6 patients, each file for itself" in text
    assert "## Beware" not in card_text(facts())


def test_what_a_label_is_depends_on_the_task() -> None:
    assert "PNG of training ids, 255 ignored" in card_text(facts(task="segmentation"))
    assert "label: training id" in card_text(facts())


def test_a_dataset_of_scenes_speaks_of_its_own_units_and_of_no_slides() -> None:
    text = card_text(facts(split_kind="sites", unit="runs of five frames", estimate="unseen sites"))

    assert "6 runs of five frames;" in text
    assert "scores speak of unseen sites" in text
    assert "patient" not in text.split("## Opening")[0]
    assert yaml.safe_load(text.split("---")[1])["tags"] == ["wsi-vit"]
    assert "histopathology" in yaml.safe_load(card_text(facts()).split("---")[1])["tags"]
