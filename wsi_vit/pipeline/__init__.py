"""The stages of the main job, in order, as plain functions.

    cohort -> tile_row (a slide) -> build -> train -> evaluate -> register -> predict

`wsi-vit run`, the Python API and the Prefect flows all call these. Each skips what is there
already, and each leaves its result whole or not at all.

A stage is imported when it is first asked for: who tiles slides need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsi_vit.pipeline.checking import CheckOutcome, check_recipe
    from wsi_vit.pipeline.comparing import compare_token_learner, judge_token_learner, side_of
    from wsi_vit.pipeline.explaining import ExplanationOptions, explain
    from wsi_vit.pipeline.learning import evaluate, evaluate_on, train, train_supervised
    from wsi_vit.pipeline.looking import Look, look
    from wsi_vit.pipeline.outcomes import (
        SIDES,
        ComparisonOutcome,
        ExplanationOutcome,
        ModelOutcome,
        PredictionOutcome,
        PretrainingOutcome,
        Progress,
        RunOutcome,
        SideName,
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
    from wsi_vit.pipeline.pretraining import evaluate_pretraining, pretrain
    from wsi_vit.pipeline.publishing import listing_for, publish
    from wsi_vit.pipeline.quality import QualityReport, check_quality, tiled_quality
    from wsi_vit.pipeline.registering import Promotion, models, promote, register, rollback
    from wsi_vit.pipeline.running import run_recipe
    from wsi_vit.pipeline.showing import show_augmentation
    from wsi_vit.pipeline.tiling import build, cohort_of, tile_cohort, tile_row

__all__ = [
    "SIDES",
    "CheckOutcome",
    "ComparisonOutcome",
    "ExplanationOptions",
    "ExplanationOutcome",
    "Look",
    "ModelOutcome",
    "PredictionOptions",
    "PredictionOutcome",
    "PretrainingOutcome",
    "Progress",
    "Promotion",
    "QualityReport",
    "RunOutcome",
    "SideName",
    "SlideOutcome",
    "Trained",
    "build",
    "check_quality",
    "check_recipe",
    "cohort_of",
    "compare_token_learner",
    "evaluate",
    "evaluate_on",
    "evaluate_pretraining",
    "explain",
    "fetch_model",
    "judge_token_learner",
    "listed_inputs",
    "listing_for",
    "look",
    "models",
    "predict",
    "predict_row",
    "pretrain",
    "promote",
    "publish",
    "register",
    "rollback",
    "run_recipe",
    "show_augmentation",
    "side_of",
    "tile_cohort",
    "tile_row",
    "tiled_quality",
    "train",
    "train_supervised",
]

_MODULES = {
    "checking": ["CheckOutcome", "check_recipe"],
    "comparing": ["compare_token_learner", "judge_token_learner", "side_of"],
    "explaining": ["ExplanationOptions", "explain"],
    "learning": ["evaluate", "evaluate_on", "train", "train_supervised"],
    "looking": ["Look", "look"],
    "outcomes": [
        "SIDES",
        "ComparisonOutcome",
        "ExplanationOutcome",
        "ModelOutcome",
        "PredictionOutcome",
        "PretrainingOutcome",
        "Progress",
        "RunOutcome",
        "SideName",
        "SlideOutcome",
        "Trained",
    ],
    "predicting": ["PredictionOptions", "fetch_model", "listed_inputs", "predict", "predict_row"],
    "pretraining": ["evaluate_pretraining", "pretrain"],
    "publishing": ["listing_for", "publish"],
    "quality": ["QualityReport", "check_quality", "tiled_quality"],
    "registering": ["Promotion", "models", "promote", "register", "rollback"],
    "running": ["run_recipe"],
    "showing": ["show_augmentation"],
    "tiling": ["build", "cohort_of", "tile_cohort", "tile_row"],
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a stage with the module it lives in (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
