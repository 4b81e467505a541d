from pathlib import Path

import pytest

from wsi_vit.errors import RecipeError
from wsi_vit.recipe import Recipe, dump_recipe, load_recipe, recipe_names

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=recipe_names())
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return load_recipe(request.param)


def test_the_recipes_are_these() -> None:
    assert {
        "demo_classification",
        "demo_segmentation",
        "wsi_classification",
        "wsi_segmentation",
        "ebhi_classification",
        "ebhi_segmentation",
    } <= set(recipe_names())


def test_a_recipe_opens_with_its_command_and_its_expected_result(recipe: Recipe) -> None:
    head = (ROOT / "configs" / f"{recipe.name}.yaml").read_text().split("\nlabels:")[0]

    assert recipe.name in head.split("# Run:", 1)[1].splitlines()[0]
    assert "# Expect:" in head
    assert all(line.startswith("#") or not line for line in head.splitlines())


def test_a_resolved_recipe_loads_again(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "again.yaml"
    path.write_text(dump_recipe(recipe))

    assert load_recipe(path) == recipe
    assert load_recipe(path).digest == recipe.digest


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def demo_text() -> str:
    return (ROOT / "configs" / "demo_segmentation.yaml").read_text()


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = demo_text().replace("epochs:", "epoks:").replace("tile_px: 128", "tile_px: -3")

    with pytest.raises(RecipeError) as caught:
        load_recipe(written(tmp_path, text + "\nnonsense: 1\n"))

    message = str(caught.value)
    assert "training.epoks: unknown key; did you mean epochs?" in message
    assert "tile_px: Input should be greater than" in message
    assert "nonsense: unknown key" in message


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'split' is given twice"):
        load_recipe(written(tmp_path, demo_text() + "\nsplit: {kind: folds}\n"))


@pytest.mark.parametrize("text", ["", "- a\n- b\n"])
def test_a_file_without_keys_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="empty"):
        load_recipe(written(tmp_path, text))


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="line 1"):
        load_recipe(written(tmp_path, "labels: {"))


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(RecipeError, match="Known: demo_segmentation"):
        load_recipe("demo_segmentatoin")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_a_name_is_no_way_out_of_the_folder() -> None:
    with pytest.raises(RecipeError, match="No such recipe"):
        load_recipe("../pyproject")


def test_another_place_of_the_data_is_all_that_changes(tmp_path: Path) -> None:
    recipe = load_recipe("ebhi_segmentation")

    moved = recipe.reading(tmp_path)

    assert moved.source.root == tmp_path.resolve()  # type: ignore[union-attr]
    assert moved.labels == recipe.labels
    assert recipe.reading(None) is recipe


def test_masks_are_needed_to_learn_masks(tmp_path: Path) -> None:
    lines = (ROOT / "configs" / "ebhi_segmentation.yaml").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("  mask:"))

    with pytest.raises(RecipeError, match=r"masks need `source\.mask`"):
        load_recipe(written(tmp_path, text))
