"""Whoever is offered weights is told what they may be used for."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from tests.models.test_card import FACTS
from tests.models.test_folder import make
from wsi_vit.models.card import card_text
from wsi_vit.models.licences import APACHE_2, CC_BY_NC_4, LICENCES, NVIDIA_SEGFORMER, licence_of
from wsi_vit.models.sections import AnyModel
from wsi_vit.models.start import HubStart

ROOT = Path(__file__).parents[2]
SECTIONS = get_args(get_args(AnyModel)[0])
RECIPES = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("benchmarks/recipes/*.yaml")])


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_no_model_begins_unasked_from_weights_that_are_not_for_every_use(section: type) -> None:
    start = section().start  # type: ignore[attr-defined]

    assert not isinstance(start, HubStart) or LICENCES[start.id].use == "any"


def test_the_terms_of_all_weights_that_recipes_name_are_known_and_told() -> None:
    starts = [yaml.safe_load(path.read_text())["model"].get("start", {}) for path in RECIPES]
    named = {start["id"] for start in starts if start.get("kind") == "hub"}

    assert named
    assert named <= set(LICENCES)


def test_the_documentation_shows_the_same_terms() -> None:
    text = (ROOT / "docs" / "concepts" / "weights.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    told = {name: row for row in rows for name in re.findall(r"`([\w-]+/[\w.-]+)`", row)}

    assert set(told) == {*LICENCES} - {f"nvidia/mit-b{size}" for size in range(1, 6)}
    for name, row in told.items():
        licence = LICENCES[name]
        assert licence.name in row
        assert ("non-commercial" in row) == (licence.use == "non-commercial")


def test_a_card_keeps_what_first_weights_forbid() -> None:
    bound = FACTS.model_copy(update={"base": "facebook/x at main", "base_licence": CC_BY_NC_4})
    text = card_text(make(), bound)

    assert yaml.safe_load(text.split("---")[1])["license"] == "cc-by-nc-4.0"
    assert "this model too must not be used commercially" in text


def test_a_licence_that_the_hub_has_no_word_for_is_linked() -> None:
    text = card_text(make(), FACTS.model_copy(update={"base_licence": NVIDIA_SEGFORMER}))
    head = yaml.safe_load(text.split("---")[1])

    assert head["license"] == "other"
    assert head["license_name"] == "nvidia-source-code-license-for-segformer"
    assert head["license_link"] == NVIDIA_SEGFORMER.link


def test_free_weights_leave_the_licence_to_the_owner_of_the_model() -> None:
    facts = FACTS.model_copy(update={"licence": "other", "base_licence": APACHE_2})
    text = card_text(make(), facts)

    assert yaml.safe_load(text.split("---")[1])["license"] == "other"
    assert "under [Apache License 2.0](" in text


def test_nothing_is_said_of_weights_that_nobody_has_looked_up() -> None:
    assert licence_of("someone/something") is None
    assert "under [" not in card_text(make(), FACTS)
