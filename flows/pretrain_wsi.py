"""pretrain-wsi: slides without labels -> tiles -> dataset -> weights that other recipes begin from.

Nothing is registered: such weights say nothing of a slide, so no test split can promote them.
"""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.artifacts import show_pictures, show_result
from flows.parameters import PretrainParameters
from flows.progress import progress_of
from flows.retries import AGAIN
from flows.stages import build_dataset, lost_in_words, options_of, tile_cohort, train
from wsi_vit import pipeline
from wsi_vit.settings import Settings


@task(**AGAIN)
def measure(run: Path) -> str:
    """Measure on the frozen test split what is drawn of hidden patches, write the report."""
    progress = progress_of("evaluation")
    return pipeline.evaluate_pretraining(run, settings=Settings(), progress=progress).sentence()


@flow(name="pretrain-wsi", **options_of("pre-train"))
def pretrain_wsi(parameters: PretrainParameters) -> State[Any]:
    """Learn first weights from a site's own slides, which nobody has labelled."""
    outcomes = tile_cohort(parameters)
    trained = train(parameters, build_dataset(parameters, outcomes).folder)
    sentence = measure(trained.run)
    show_result(sentence, trained.run / "report.html", run_key=parameters.recipe_name)
    show_pictures(sorted((trained.run / "figures").glob("*.png")), run_key=parameters.recipe_name)
    lost = [item.slide_id for item in outcomes if item.state == "quarantined"]
    weights = str(trained.run / "model")
    result = {
        "run": str(trained.run),
        "weights": weights,
        "sentence": sentence,
        "quarantined": lost,
        "reused": trained.reused,
    }
    return Completed(message=f"{sentence} Begin from {weights}{lost_in_words(lost)}", data=result)
