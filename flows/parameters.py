"""What a flow run is asked: pydantic models, so the UI shows a form and refuses nonsense early."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from wsi_vit.pipeline import Promotion
from wsi_vit.recipe import Recipe, load_recipe
from wsi_vit.section import Section

Start = Annotated[Path | None, Field(description="Local folder of weights to start from")]
Promote = Annotated[Promotion, Field(description="Whether the new version may become champion")]
RecipeFile = Annotated[str, Field(pattern=r"\.ya?ml$", description="A YAML path")]
Subset = Literal["ade20k", "sidewalk", "crack"]


class RecipeParameters(Section, ABC):
    """What every flow of a recipe is asked; each says in its own words where its data lie."""

    recipe: str
    start: Start

    @property
    @abstractmethod
    def place(self) -> Path | None:
        """Where the data lie; None: where the recipe says."""

    @property
    def recipe_name(self) -> str:
        """The recipe without its path."""
        return Path(self.recipe).stem

    @field_validator("recipe")
    @classmethod
    def _is_known(cls, value: str) -> str:
        load_recipe(value)
        return value

    def resolved(self) -> Recipe:
        """Return the recipe with the places that were named here."""
        return load_recipe(self.recipe).reading(self.place).starting_from(self.start)


class TrainingParameters(RecipeParameters, ABC):
    """What a flow is asked that ends in the registry."""

    promotion: Promote


class CompareParameters(RecipeParameters):
    """A recipe with and without its TokenLearner."""

    recipe: str = Field(
        default="token_learner_digits", description="A recipe with a token_learner, or a YAML path"
    )
    data: Path | None = Field(
        default=None, description="Cohort or folder of images; the recipe's own if absent"
    )
    start: Start = None
    seeds: int = Field(default=5, ge=2, description="How often each side is trained")

    @property
    def place(self) -> Path | None:
        """The data."""
        return self.data


class PretrainParameters(RecipeParameters):
    """From slides without labels to weights that other recipes begin from."""

    recipe: str = Field(
        default="wsi_pretraining", description="A recipe of `kind: mae`, or a YAML path"
    )
    cohort: Path | None = Field(
        default=None, description="cohort.csv, a folder of slides, or the folder of an image recipe"
    )
    start: Start = None

    @field_validator("recipe")
    @classmethod
    def _pretrains(cls, value: str) -> str:
        if load_recipe(value).task != "pretraining":
            raise ValueError(f"{value} learns from labels; train-wsi is for it")
        return value

    @property
    def place(self) -> Path | None:
        """The cohort."""
        return self.cohort


class TrainParameters(TrainingParameters):
    """From slides to a registered model."""

    recipe: str = Field(default="wsi_segmentation", description="Name of a recipe, or a YAML path")
    cohort: Path | None = Field(
        default=None, description="cohort.csv, a folder of slides, or the folder of an image recipe"
    )
    start: Start = None
    promotion: Promote = "if better"

    @property
    def place(self) -> Path | None:
        """The cohort."""
        return self.cohort


class SceneParameters(TrainingParameters):
    """From images and masks to a registered model."""

    data: Path | None = Field(
        default=None, description="Folder of images and masks; the recipe's own if absent"
    )
    start: Start = None
    promotion: Promote = "if better"

    @property
    def place(self) -> Path | None:
        """The folder of images and masks."""
        return self.data


class Ade20kParameters(SceneParameters):
    """From ADE20K to a registered model of a few of its classes."""

    recipe: Literal["ade20k_5", "ade20k_5_interior"] | RecipeFile = Field(
        default="ade20k_5", description="Which classes, or a YAML path"
    )


class SidewalkParameters(SceneParameters):
    """From street scenes to a registered model."""

    recipe: Literal["sidewalk_4"] | RecipeFile = Field(
        default="sidewalk_4", description="The recipe, or a YAML path"
    )


class CrackParameters(SceneParameters):
    """From pictures of cracked surfaces to a registered model."""

    recipe: Literal["crack"] | RecipeFile = Field(
        default="crack", description="The recipe, or a YAML path"
    )


class TrainAllParameters(Section):
    """Several models side by side."""

    subsets: tuple[Subset, ...] = Field(
        default=("ade20k", "sidewalk", "crack"), description="Which of the image sets to train on"
    )
    ade20k: Ade20kParameters = Field(default=Ade20kParameters())
    sidewalk: SidewalkParameters = Field(default=SidewalkParameters())
    crack: CrackParameters = Field(default=CrackParameters())
    slides: TrainParameters = Field(
        default=TrainParameters(), description="Slides join in where their cohort is named"
    )

    @model_validator(mode="after")
    def _runs_differ(self) -> Self:
        recipes = [asked.recipe_name for asked in self.asked().values()]
        if len(set(self.subsets)) < len(self.subsets) or len(set(recipes)) < len(recipes):
            raise ValueError("every run needs a recipe of its own")
        if not recipes:
            raise ValueError("nothing to train: name a subset, or slides.cohort")
        return self

    @property
    def spoken(self) -> str:
        """The names of the runs, in words."""
        return ", ".join(self.asked())

    def asked(self) -> dict[str, TrainingParameters]:
        """Return what each run is asked, by its name."""
        found: dict[str, TrainingParameters] = {n: getattr(self, n) for n in self.subsets}
        if self.slides.cohort:
            found["slides"] = self.slides
        return found


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
