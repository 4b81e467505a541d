"""From whole-slide images to registered, reproducible models, and back to predictions on slides.

The public names are found lazily, so that importing one part needs no other:

    from wsi_vit import load_model, open_slide
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsi_vit.datasets.build import build_from_images, build_from_shards
    from wsi_vit.datasets.reading import open_dataset
    from wsi_vit.evaluation.evaluate import evaluate_model
    from wsi_vit.models.load import load_model
    from wsi_vit.pipeline import run_recipe, tile_cohort
    from wsi_vit.prediction.slide import predict_slide
    from wsi_vit.recipe import load_recipe
    from wsi_vit.slides.slide import open_slide
    from wsi_vit.training.loop import fit

_HOMES = {
    "build_from_images": "wsi_vit.datasets.build",
    "build_from_shards": "wsi_vit.datasets.build",
    "evaluate_model": "wsi_vit.evaluation.evaluate",
    "fit": "wsi_vit.training.loop",
    "load_model": "wsi_vit.models.load",
    "load_recipe": "wsi_vit.recipe",
    "open_dataset": "wsi_vit.datasets.reading",
    "open_slide": "wsi_vit.slides.slide",
    "predict_slide": "wsi_vit.prediction.slide",
    "run_recipe": "wsi_vit.pipeline",
    "tile_cohort": "wsi_vit.pipeline",
}

__all__ = [
    "build_from_images",
    "build_from_shards",
    "evaluate_model",
    "fit",
    "load_model",
    "load_recipe",
    "open_dataset",
    "open_slide",
    "predict_slide",
    "run_recipe",
    "tile_cohort",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wsi_vit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
