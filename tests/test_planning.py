from pathlib import Path

import pytest

from wsi_vit import pipeline
from wsi_vit.datasets.sources import CohortSource
from wsi_vit.errors import CohortError, Reason
from wsi_vit.models.building import build_model
from wsi_vit.planning import plan_recipe
from wsi_vit.recipe import Recipe, load_recipe
from wsi_vit.settings import Settings
from wsi_vit.slides.synthetic import synthesise_cohort
from wsi_vit.slides.synthetic.settings import SyntheticSection


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides, of which one is gone."""
    path = synthesise_cohort(
        tmp_path_factory.mktemp("cohort"),
        slides=2,
        seed=5,
        section=SyntheticSection(width_px=1024, height_px=1024),
    )
    (path.parent / "slides" / "synthetic-002.svs").unlink()
    return path


@pytest.fixture
def recipe(cohort: Path) -> Recipe:
    return load_recipe("demo_classification").reading(cohort)


def test_a_plan_foretells_the_tiles_and_their_bytes(recipe: Recipe, tmp_path: Path) -> None:
    settings = Settings(runs=tmp_path)
    heard: list[str] = []

    plan = plan_recipe(recipe, settings=settings, progress=lambda what, *_: heard.append(what))

    assert not list(tmp_path.rglob("*.arrow"))  # it keeps nothing
    assert heard[0] == "planning slides: synthetic-001"
    first, gone = plan.slides
    assert (first.cached, gone.reason) == (False, Reason.MISSING)
    assert first.cpu_s > 0

    done = pipeline.tile_row(pipeline.cohort_of(recipe).rows[0], recipe=recipe, settings=settings)
    again = plan_recipe(recipe, settings=settings)

    assert done.tiles == first.tiles
    assert done.tiles_folder
    written = (done.tiles_folder / "tiles.arrow").stat().st_size
    assert first.disk_bytes == pytest.approx(written, rel=0.35)
    assert [slide.cached for slide in again.slides] == [True, False]
    assert again.summary()["MB to write"] == 0


def test_a_plan_counts_the_weights(recipe: Recipe, tmp_path: Path) -> None:
    plan = plan_recipe(recipe, settings=Settings(runs=tmp_path))
    model = build_model(recipe.model, recipe.labels, recipe.task)

    assert plan.parameters == sum(weight.numel() for weight in model.parameters())
    assert (plan.trained, plan.weights_bytes) == (plan.parameters, 16 * plan.parameters)
    assert [row.row()["there already"] for row in plan.slides] == ["", ""]
    assert "[missing]" in plan.slides[1].row()["quarantine"]


def test_a_plan_counts_what_learns_apart(recipe: Recipe, tmp_path: Path) -> None:
    probe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"tuning": "head"})})
    pictures = probe.model_copy(update={"source": load_recipe("ebhi_classification").source})

    plan = plan_recipe(pictures, settings=Settings(runs=tmp_path))

    assert plan.trained == 129 * len(recipe.labels)
    assert plan.weights_bytes == 4 * plan.parameters + 12 * plan.trained


def test_a_plan_of_pictures_has_no_slides(tmp_path: Path) -> None:
    plan = plan_recipe(
        load_recipe("demo_classification").model_copy(
            update={"source": load_recipe("ebhi_classification").source}
        ),
        settings=Settings(runs=tmp_path),
    )

    assert plan.slides == ()
    assert plan.summary()["tiles"] == 0


def test_a_plan_needs_a_cohort(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="Give --cohort"):
        plan_recipe(load_recipe("demo_classification"), settings=Settings(runs=tmp_path))


def test_places_of_tiles_take_little_disk(recipe: Recipe, tmp_path: Path) -> None:
    assert isinstance(recipe.source, CohortSource)
    tiles = recipe.source.tiles.model_copy(update={"store": "coordinates"})
    bare = recipe.model_copy(update={"source": recipe.source.model_copy(update={"tiles": tiles})})
    settings = Settings(runs=tmp_path)

    (first, _), (whole, _) = (plan_recipe(r, settings=settings).slides for r in (bare, recipe))
    done = pipeline.tile_row(pipeline.cohort_of(bare).rows[0], recipe=bare, settings=settings)

    assert done.tiles == first.tiles == whole.tiles
    assert done.tiles_folder
    written = (done.tiles_folder / "tiles.arrow").stat().st_size
    assert first.disk_bytes < written < first.disk_bytes + 4_000  # a schema, and some ends
    assert first.disk_bytes < whole.disk_bytes / 10
