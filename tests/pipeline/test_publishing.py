"""What may be published under which licence, and what `--push` says offline."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.datasets.making import LABELS, image_folder
from wsi_vit.cli import app
from wsi_vit.errors import UsageError
from wsi_vit.pipeline import listing_for
from wsi_vit.recipe import Recipe, load_recipe


def recipe(licence: str | None) -> Recipe:
    found = load_recipe("ebhi_classification")
    source = found.source.model_copy(update={"licence": licence})
    return found.model_copy(update={"source": source})


def test_what_states_no_licence_is_not_published() -> None:
    with pytest.raises(UsageError, match=r"states no licence.*cc-by-4.0"):
        listing_for(recipe(None), "a/b", licence=None)


def test_a_licence_comes_from_the_recipe_or_the_command_and_they_agree() -> None:
    assert listing_for(recipe("mit"), "a/b", licence=None).licence == "mit"
    assert listing_for(recipe(None), "a/b", licence="cc0-1.0").licence == "cc0-1.0"
    with pytest.raises(UsageError, match="states another licence"):
        listing_for(recipe("mit"), "a/b", licence="cc0-1.0")


def test_an_impossible_name_or_licence_is_told_at_once() -> None:
    with pytest.raises(UsageError, match=r"repo: .*licence: .*cc-by-4\.0"):
        listing_for(recipe(None), "nobody", licence="cc-by-4")


def test_one_command_writes_the_folder_and_says_how_to_upload_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WSI_VIT_RUNS", str(tmp_path / "runs"))
    content = recipe("cc-by-4.0").model_dump(mode="json", exclude={"name"})
    content["labels"] = LABELS.model_dump(mode="json")
    content["source"] |= {"patient": r"P(\d+)-"}
    content["split"] = {"kind": "patients"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    images = image_folder(tmp_path / "images")

    done = CliRunner().invoke(
        app,
        ["dataset", f"{tmp_path}/tiny.yaml", "--cohort", str(images), "--push", "me/tiny"],
    )

    assert done.exit_code == 0, done.output
    published = next((tmp_path / "runs" / "store" / "published").iterdir())
    said = " ".join(done.output.split())
    assert f"hf upload me/tiny {published} . --repo-type dataset --private" in said
    assert "Dry run (HF_HUB_OFFLINE is set)" in said
    assert (published / "README.md").is_file()
