"""`wsi-vit dataset --check` and `--show`: verdicts, exit codes, and pictures of what is learnt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.datasets.making import image_folder
from wsi_vit import console, pipeline
from wsi_vit.cli import app
from wsi_vit.errors import DatasetError
from wsi_vit.recipe import Recipe, load_recipe
from wsi_vit.settings import Settings

RECIPE = """
labels:
  background: background
  classes:
    - {name: background, source: [0], colour: "#000000"}
    - {name: gland, source: [1], colour: "#e69f00"}
source:
  kind: folder
  images: "*/image/*.png"
  patient: "(P[0-9]+)-"
  mask: {find: "/image/", replace: "/label/", values: {kind: threshold, above: 127}}
split: {kind: patients, validation: 0.2, test: 0.2}
model:
  kind: maskformer
  architecture: maskformer
  start:
    kind: config
    options: {backbone: resnet, widths: [8, 8, 8, 8], depths: [1, 1, 1, 1], d_model: 16,
              decoder_layers: 1, queries: 4}
  input_px: 64
augmentation: {preset: strong}
training: {epochs: 1, batch_size: 4, learning_rate: 1.0e-3}
"""

CLASSES = """
labels: {classes: [{name: Stroma, colour: "#cc79a7"}, {name: Tumour, colour: "#d55e00"}]}
source: {kind: folder, images: "*/image/*.png", label: "^([^/]+)/", patient: "(P[0-9]+)-"}
split: {kind: patients, validation: 0.2, test: 0.2}
model:
  kind: classifier
  start:
    kind: config
    options: {model_type: vit, patch_size: 16, hidden_size: 16, num_hidden_layers: 1,
              num_attention_heads: 2, intermediate_size: 16}
  input_px: 32
augmentation: {preset: histology}
training: {epochs: 1, batch_size: 4, learning_rate: 1.0e-3}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "data", px=32)


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    path = tmp_path / "glands.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("WSI_VIT_RUNS", str(tmp_path / "runs"))
    return Settings()


def recipe(path: Path, data: Path) -> Recipe:
    return load_recipe(path).reading(data)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def called(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["dataset", *[str(item) for item in arguments]])


def test_sound_labels_pass_with_tables_and_pictures(
    recipe_path: Path, data: Path, settings: Settings, tmp_path: Path
) -> None:
    result = called(recipe_path, "--cohort", data, "--check", "--show", "--out", tmp_path / "seen")
    assert result.exit_code == console.OK, result.output
    for word in ("Before: source ids", "After: classes", "gland", "the labels are sound"):
        assert word in result.stdout
    names = {path.name for path in (tmp_path / "seen").iterdir()}
    assert names == {"labels.png", "samples.png", "augmentation.png", "check.json"}
    record = json.loads((tmp_path / "seen/check.json").read_text())
    assert record["masks"]["census"]["changed"] == 0
    assert record["dataset"]["splits"]["train"]["examples"] > 0


def test_a_trap_ends_with_1_and_builds_nothing(
    recipe_path: Path, data: Path, settings: Settings
) -> None:
    """Black-and-white masks read as ids: what is drawn in them would be ignored."""
    text = RECIPE.replace("values: {kind: threshold, above: 127}", "values: {kind: index}")
    recipe_path.write_text(text)
    for path in data.glob("*/label/*.png"):
        grey = pixels(path)
        Image.fromarray(np.where(grey > 127, 255, 0).astype(np.uint8)).save(path)
    result = called(recipe_path, "--cohort", data, "--check", "--show", "--json")
    assert result.exit_code == console.FAILED
    found = json.loads(result.stdout)
    assert found["augmentation"] is None
    assert found["check"]["dataset"] is None
    assert "hold only 0 and 255" in found["check"]["problems"][0]
    assert not list(settings.runs.glob("store/dataset/*"))
    assert "  refused: masks hold only" in called(recipe_path, "--cohort", data, "--check").stdout


def test_files_that_cannot_be_used_are_named_all_at_once(
    recipe_path: Path, data: Path, settings: Settings
) -> None:
    masks = sorted(data.glob("*/label/*.png"))
    images = sorted(data.glob("*/image/*.png"))
    masks[0].unlink()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(masks[1])
    images[2].write_bytes(images[2].read_bytes()[:90])
    found = pipeline.check_recipe(recipe(recipe_path, data), settings=settings)
    assert not found.passed
    told = "\n".join(found.problems)
    assert "3 masks cannot be read" in told
    for path, reason in zip(
        images[:3], ("is not there", "is (8, 8), not (32, 32)", "is of an image"), strict=True
    ):
        assert f"{path.name}: its mask {reason}" in told
    assert found.masks
    assert found.masks.census.masks == 9
    assert len(found.pictures) == 2


def test_a_source_that_cannot_be_found_is_a_problem_and_not_a_crash(
    recipe_path: Path, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    found = pipeline.check_recipe(recipe(recipe_path, tmp_path / "empty"), settings=settings)
    assert len(found.problems) == 1
    assert "holds no images" in found.problems[0]
    with pytest.raises(DatasetError, match="holds no images"):
        pipeline.show_augmentation(recipe(recipe_path, tmp_path / "empty"), settings=settings)


def test_the_augmentation_is_the_loops_own_and_seeded(
    recipe_path: Path, data: Path, settings: Settings, tmp_path: Path
) -> None:
    def shown(text: str, name: str) -> bytes:
        recipe_path.write_text(text)
        asked = recipe(recipe_path, data)
        return pipeline.show_augmentation(
            asked, out=tmp_path / name, settings=settings
        ).read_bytes()

    first = shown(RECIPE, "first")
    assert shown(RECIPE, "again") == first
    other = RECIPE.replace("learning_rate: 1.0e-3", "learning_rate: 1.0e-3, seed: 1")
    assert shown(other, "other") != first
    shown(RECIPE.replace("preset: strong", "preset: none"), "plain")
    still = pixels(tmp_path / "plain/augmentation.png")
    columns = [still[120:400, 28 + n * 320 : 28 + n * 320 + 300] for n in (1, 2, 3)]
    assert all(np.array_equal(columns[0], column) for column in columns)


def test_classes_without_masks_are_shown_too(
    recipe_path: Path, data: Path, settings: Settings
) -> None:
    recipe_path.write_text(CLASSES)
    found = pipeline.look(recipe(recipe_path, data), ["check", "show"], settings=settings)
    assert found.passed, found.lines
    assert {row["class"] for row in found.class_rows} == {"Stroma", "Tumour"}
    assert found.augmentation
    assert found.augmentation == settings.runs / "checks/glands/augmentation.png"
    assert pixels(found.augmentation).shape[1] > 1500
