"""The card says what the model is, what it tells apart and how good it is."""

from datetime import date

import yaml

from tests.models.test_folder import make
from wsi_vit.models.card import CardFacts, card_text

FACTS = CardFacts(
    name="wsi-vit-demo",
    summary="Tells tumour from stroma and mucus.",
    base="random weights",
    licence="apache-2.0",
    dataset="synthetic cohort",
    dataset_digest="ab12",
    metrics={"macro-F1": (0.91, 0.88, 0.94), "AUROC | tumour": None, "accuracy": 0.9},
    limits=["One stain."],
    trained_on=date(2026, 11, 21),
)


def test_the_head_is_the_hubs() -> None:
    text = card_text(make(), FACTS)
    head = yaml.safe_load(text.split("---")[1])
    assert head["pipeline_tag"] == "image-classification"
    assert head["license"] == "apache-2.0"


def test_classes_figures_data_and_limits_are_in_it() -> None:
    text = card_text(make(), FACTS)
    assert "| 1 | tumour | 1 | `#d55e00` |" in text
    assert "| macro-F1 | 0.910 (0.880 to 0.940) |" in text
    assert r"| AUROC \| tumour | undefined |" in text
    assert "| accuracy | 0.900 (no interval) |" in text
    assert "sha256 `ab12`" in text
    assert "- One stain." in text
    assert "2026-11-21" in text


def test_it_counts_the_parameters_and_names_the_input() -> None:
    model = make()
    text = card_text(model, FACTS)
    assert f"{sum(p.numel() for p in model.parameters()):,}" in text
    assert "brought to 64 x 64 px" in text


def test_it_says_that_it_is_no_medical_device() -> None:
    assert "Not a medical device" in card_text(make(), FACTS)


def test_a_model_without_figures_says_so() -> None:
    assert "Not evaluated." in card_text(make(), FACTS.model_copy(update={"metrics": {}}))
