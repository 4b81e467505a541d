"""The card says what the model is, what it tells apart and how good it is."""

from datetime import date
from pathlib import Path

import transformers
import yaml
from huggingface_hub import ModelCard

from tests.models.test_folder import make
from tests.models.test_vit import make as make_vit
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
    assert head["library_name"] == "transformers"
    assert "base_model" not in head and "datasets" not in head


def test_the_hubs_own_library_reads_the_figures() -> None:
    facts = FACTS.model_copy(
        update={
            "base_model": "google/vit-base-patch16-224-in21k",
            "hub_dataset": "someone/some-tiles",
            "metrics": {"mean_iou": (0.71, 0.6, 0.8), "mean_iou (another way)": 0.8, "f1": None},
        }
    )
    text = card_text(make(), facts)

    data = ModelCard(text).data

    assert data.base_model == "google/vit-base-patch16-224-in21k"
    assert data.datasets == ["someone/some-tiles"]
    assert data.metrics == ["mean_iou"]
    assert data.eval_results is not None
    first, second = data.eval_results
    assert (first.metric_type, first.metric_value, first.metric_args) == (
        "mean_iou",
        0.71,
        {"interval_95": [0.6, 0.8]},
    )
    assert (second.metric_type, second.metric_name) == ("mean_iou", "mean_iou (another way)")
    assert (first.dataset_type, first.dataset_revision) == ("someone/some-tiles", "ab12")


def test_the_card_says_how_to_load_it_and_that_is_true(tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "model")
    text = card_text(model, FACTS)
    name = type(model.network).__name__

    assert f'`{name}.from_pretrained("model")`' in text
    network = getattr(transformers, name).from_pretrained(tmp_path / "model")
    assert network.config.model_type == model.network.config.model_type
    assert 'load_model("model")' in text


def test_a_network_that_transformers_has_no_class_for_is_said_to_be_ours_alone() -> None:
    text = card_text(make_vit({"positions": "sincos"}), FACTS)

    assert yaml.safe_load(text.split("---")[1])["library_name"] == "wsi-vit"
    assert "wsi-vit alone reads it" in text
    assert "from_pretrained" not in text


def test_a_model_of_scenes_is_not_called_medical() -> None:
    text = card_text(
        make(), FACTS.model_copy(update={"unit": "photos", "estimate": "unseen photos"})
    )
    head = yaml.safe_load(text.split("---")[1])

    assert head["tags"] == ["wsi-vit"]
    assert "patient" not in text and "medical" not in text
    assert "| on unseen photos |" in text


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
