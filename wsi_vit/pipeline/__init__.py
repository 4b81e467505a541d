"""The stages of the main job, in order, as plain functions.

    cohort -> tile_row (a slide) -> build -> train -> evaluate -> register -> predict

`wsi-vit run`, the Python API and the Prefect flows all call these. Each skips what is there
already, and each leaves its result whole or not at all.
"""

from wsi_vit.pipeline.checking import CheckOutcome, check_recipe
from wsi_vit.pipeline.learning import evaluate, evaluate_on, train, train_supervised
from wsi_vit.pipeline.looking import Look, look
from wsi_vit.pipeline.outcomes import (
    ModelOutcome,
    PredictionOutcome,
    Progress,
    RunOutcome,
    SlideOutcome,
    Trained,
)
from wsi_vit.pipeline.predicting import (
    PredictionOptions,
    fetch_model,
    listed_inputs,
    predict,
    predict_row,
)
from wsi_vit.pipeline.publishing import listing_for, publish
from wsi_vit.pipeline.registering import Promotion, models, promote, register, rollback
from wsi_vit.pipeline.running import run_recipe
from wsi_vit.pipeline.showing import show_augmentation
from wsi_vit.pipeline.tiling import build, cohort_of, tile_cohort, tile_row

__all__ = [
    "CheckOutcome",
    "Look",
    "ModelOutcome",
    "PredictionOptions",
    "PredictionOutcome",
    "Progress",
    "Promotion",
    "RunOutcome",
    "SlideOutcome",
    "Trained",
    "build",
    "check_recipe",
    "cohort_of",
    "evaluate",
    "evaluate_on",
    "fetch_model",
    "listed_inputs",
    "listing_for",
    "look",
    "models",
    "predict",
    "predict_row",
    "promote",
    "publish",
    "register",
    "rollback",
    "run_recipe",
    "show_augmentation",
    "tile_cohort",
    "tile_row",
    "train",
    "train_supervised",
]
