"""The whole main job in one process, without an orchestrator."""

from wsi_vit.errors import RecipeError
from wsi_vit.evaluation.words import headline_sentence
from wsi_vit.pipeline.learning import evaluate, train
from wsi_vit.pipeline.outcomes import Progress, RunOutcome, silent
from wsi_vit.pipeline.quality import tiled_quality
from wsi_vit.pipeline.registering import Promotion, register
from wsi_vit.pipeline.tiling import build, tile_cohort
from wsi_vit.recipe import Recipe
from wsi_vit.settings import Settings


def run_recipe(
    recipe: Recipe,
    *,
    settings: Settings,
    promotion: Promotion = "if better",
    progress: Progress = silent,
) -> RunOutcome:
    """Tile, build, train, evaluate and register; what is there already is not done again.

    Raises:
        RecipeError: The recipe pre-trains, which has no classes to judge and registers nothing.
        WsiVitError: Whatever stops the job; what was finished before stays.
    """
    if recipe.task == "pretraining":
        raise RecipeError(
            "This recipe pre-trains: there are no classes to judge, and nothing to register",
            got=recipe.name,
            remedy=f"Use `wsi-vit pretrain {recipe.name}`",
        )
    outcomes = tile_cohort(recipe, settings=settings, progress=progress)
    sheets = tiled_quality(recipe, outcomes, settings=settings).sheets if outcomes else ()
    dataset = build(recipe, outcomes, settings=settings)
    run = train(recipe, dataset.folder, settings=settings, progress=progress).run
    found = evaluate(run, settings=settings, progress=progress)
    version = register(run, promotion=promotion, settings=settings)
    return RunOutcome(
        run=run,
        sentence=headline_sentence(found),
        model=version,
        quarantined=[item.slide_id for item in outcomes if item.state == "quarantined"],
        contact_sheets=list(sheets),
    )
