"""pretrain-wsi: from tiles that nobody has labelled to weights that fine-tuning begins from.

    cohort -> tile_row (a slide) -> build -> train -> evaluate_pretraining

It ends in a run folder whose `model/` is a `start` of other recipes. Nothing is registered: a
registry's champion is chosen by what it says of a test split, and these weights say nothing.
"""

from pathlib import Path
from typing import Any

from wsi_vit.datasets.reading import open_dataset
from wsi_vit.errors import RecipeError
from wsi_vit.evaluation.pretraining.measure import measure_pretraining
from wsi_vit.evaluation.pretraining.page import RECONSTRUCTION, write_page
from wsi_vit.evaluation.pretraining.picture import reconstruction_picture
from wsi_vit.evaluation.pretraining.records import PretrainingEvaluation, read_pretraining
from wsi_vit.evaluation.style import save
from wsi_vit.models.load import load_model
from wsi_vit.models.pretraining.mae import Mae
from wsi_vit.pipeline.describing import about_run, write_pretraining_card
from wsi_vit.pipeline.learning import device_of, train
from wsi_vit.pipeline.outcomes import PretrainingOutcome, Progress, silent
from wsi_vit.pipeline.quality import tiled_quality
from wsi_vit.pipeline.run_folder import RunPlace, run_shape
from wsi_vit.pipeline.tiling import build, tile_cohort
from wsi_vit.recipe import Recipe
from wsi_vit.settings import Settings
from wsi_vit.store import digest_of, read_manifest


def pretrain(
    recipe: Recipe, *, settings: Settings, progress: Progress = silent
) -> PretrainingOutcome:
    """Tile, build, train and measure; what is there already is not done again.

    Raises:
        RecipeError: The recipe trains on labels.
        WsiVitError: Whatever stops the job; what was finished before stays.
    """
    refuse_labelled(recipe)
    outcomes = tile_cohort(recipe, settings=settings, progress=progress)
    sheets = tiled_quality(recipe, outcomes, settings=settings).sheets if outcomes else ()
    dataset = build(recipe, outcomes, settings=settings)
    run = train(recipe, dataset.folder, settings=settings, progress=progress).run
    found = evaluate_pretraining(run, settings=settings, progress=progress)
    return PretrainingOutcome(
        run=run,
        sentence=found.sentence(),
        quarantined=[item.slide_id for item in outcomes if item.state == "quarantined"],
        contact_sheets=list(sheets),
    )


def evaluate_pretraining(
    run: Path, *, settings: Settings, progress: Progress = silent
) -> PretrainingEvaluation:
    """Measure a run's model on its frozen test split; write metrics, pictures, report and card.

    Where the recipe leaves no test split, the validation split is measured, which the record says.
    The manifest comes last and commits the run; one that is committed is read.
    """
    place = RunPlace(run.resolve())
    recipe, metrics = place.recipe, place.folder / "metrics.json"
    judged_by = digest_of(recipe.evaluation)
    if _is_measured(place, judged_by):
        return read_pretraining(metrics)
    progress("evaluation", 0, 2)
    data, model = open_dataset(place.dataset), load_model(place.model)
    assert isinstance(model, Mae)
    model.to(device_of(settings))
    # A handful of slides may leave none to judge by; then those judge that chose the weights.
    split = "test" if len(data.examples("test")) else "validation"
    found = measure_pretraining(
        model, data, split=split, section=recipe.evaluation, model_folder=place.model
    )
    progress("evaluation", 1, 2)
    picture = reconstruction_picture(model, data.examples("validation"))
    save(picture, place.folder / "figures" / RECONSTRUCTION)
    found.write(metrics)
    write_pretraining_card(place, data, found)
    write_page(place.folder, found, about_run(place, data))
    place.commit(run_shape(recipe, data), _facts(found, judged_by))
    progress("evaluation", 2, 2)
    return found


def refuse_labelled(recipe: Recipe) -> None:
    """Refuse a recipe that does not pre-train.

    Raises:
        RecipeError: Naming what would.
    """
    if recipe.task != "pretraining":
        raise RecipeError(
            "This recipe learns from labels",
            got=f"{recipe.name}: kind {recipe.model.kind}",
            known=["kind: mae"],
            remedy="Use `wsi-vit run` for it, or name a recipe such as wsi_pretraining",
        )


def _is_measured(place: RunPlace, judged_by: str) -> bool:
    if not (place.folder / "manifest.json").is_file():
        return False
    return read_manifest(place.folder).facts["evaluation"] == judged_by


def _facts(found: PretrainingEvaluation, judged_by: str) -> dict[str, Any]:
    return {
        "evaluation": judged_by,
        "error": found.error.model_dump(mode="json"),
        "mean_colour": found.mean_colour.model_dump(mode="json"),
        "model_digest": found.model_digest,
    }
