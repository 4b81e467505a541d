"""What a flow run is asked: pydantic models, so the UI shows a form and refuses nonsense early."""

from pathlib import Path

from pydantic import Field, field_validator

from wsi_vit.pipeline import Promotion
from wsi_vit.recipe import Recipe, load_recipe
from wsi_vit.section import Section


class TrainParameters(Section):
    """From slides to a registered model."""

    recipe: str = Field(default="wsi_segmentation", description="Name of a recipe, or a YAML path")
    cohort: Path | None = Field(
        default=None, description="cohort.csv, a folder of slides, or the folder of an image recipe"
    )
    start: Path | None = Field(default=None, description="Local folder of weights to start from")
    promotion: Promotion = Field(
        default="if better", description="Whether the new version may become champion"
    )

    @field_validator("recipe")
    @classmethod
    def _is_known(cls, value: str) -> str:
        load_recipe(value)
        return value

    def resolved(self) -> Recipe:
        """Return the recipe with the places that were named here."""
        return load_recipe(self.recipe).reading(self.cohort).starting_from(self.start)


class PredictParameters(Section):
    """From slides to class maps, with a registered model."""

    model: str = Field(
        default="models:/wsi-vit-wsi_segmentation@champion",
        description="A model folder, or models:/name@alias",
    )
    cohort: Path = Field(description="cohort.csv, or a folder of slides")
    out: Path | None = Field(
        default=None, description="Where results go; runs/predictions if absent"
    )
