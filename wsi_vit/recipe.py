"""A recipe: everything that decides the outcome of a run, in one validated object.

A recipe is a YAML file in `configs/` (package data, so an installed worker has them), or any path.
"""

from collections.abc import Hashable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.datasets.example import Task
from wsi_vit.datasets.images import ImageSource
from wsi_vit.datasets.sources import AnySource, CohortSource
from wsi_vit.datasets.splits import AnySplit
from wsi_vit.errors import RecipeError
from wsi_vit.evaluation.section import EvaluationSection
from wsi_vit.labels import LabelMap
from wsi_vit.models.sections import AnyModel
from wsi_vit.models.start import FolderStart
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.section import Section
from wsi_vit.store import digest_of
from wsi_vit.training.section import TrainingSection


class Recipe(Section):
    """One experiment."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    labels: LabelMap
    source: AnySource
    split: AnySplit
    model: AnyModel
    augmentation: Augmentation
    training: TrainingSection
    evaluation: EvaluationSection = EvaluationSection()
    prediction: PredictionSection = PredictionSection()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        unfit = list(self.source.unfit(self.task)) if isinstance(self.source, ImageSource) else []
        if self.evaluation.anomaly and self.task != "classification":
            unfit.append("evaluation.anomaly: only models of one class an image have this score")
        if self.task == "multi_label" and self.labels.background is not None:
            unfit.append("labels.background: what shows none of the labels needs no class for it")
        if self.task == "pretraining" and len(self.labels) != 1:
            unfit.append("labels: images without labels are of one class, such as `tile`")
        if unfit:
            raise ValueError("; ".join(unfit))
        return self

    @property
    def task(self) -> Task:
        """What the model of this recipe predicts."""
        return self.model.task

    @property
    def digest(self) -> str:
        """The sha256 of the resolved recipe."""
        return digest_of(self)

    def reading(self, data: Path | None) -> Self:
        """Return the recipe with another place of its data: a cohort file, or a folder."""
        if data is None:
            return self
        field = "cohort" if isinstance(self.source, CohortSource) else "root"
        return self.model_copy(
            update={"source": self.source.model_copy(update={field: data.resolve()})}
        )

    def starting_from(self, folder: Path | None) -> Self:
        """Return the recipe with the weights of a local folder to start from."""
        if folder is None:
            return self
        start = FolderStart(kind="folder", path=folder.resolve())
        return self.model_copy(update={"model": self.model.model_copy(update={"start": start})})


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with wsi-vit."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by its name, or from a path that ends in `.yaml`.

    Raises:
        RecipeError: There is no such recipe, or it has faults; all of them are listed.
    """
    path = _path_of(name_or_path)
    try:
        content = yaml.load(path.read_text(), Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(
            "This recipe is no valid YAML", got=f"{path}: {error}", remedy="Mend that line"
        ) from error
    if not isinstance(content, dict):
        raise RecipeError("This recipe is empty", got=path, remedy="Start from a known one")
    try:
        return Recipe.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise RecipeError(
            f"{error.error_count()} faults in {path}",
            got="\n" + "\n".join(f"  - {line}" for line in _faults(error)) + "\n",
            remedy="Mend these keys",
        ) from None


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML: every default spelt out, loadable again."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _folder() -> Path:
    """Where the recipes lie: inside an installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


def _path_of(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        if path.is_file():
            return path
        raise RecipeError("No such recipe file", got=path, remedy="Check the path")
    named = _folder() / f"{name_or_path}.yaml"
    if named.is_file() and path.name == str(name_or_path):
        return named
    near = get_close_matches(str(name_or_path), recipe_names()) or recipe_names()
    raise RecipeError(
        "No such recipe", got=name_or_path, known=near, remedy="Name one of these, or a .yaml file"
    )


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"]) or "recipe"
        if fault["type"] == "extra_forbidden":
            near = get_close_matches(str(fault["loc"][-1]), _known_keys())
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"{place}: unknown key{hint}"
        else:
            yield f"{place}: {fault['msg']}, got {fault['input']!r:.80}"


def _known_keys() -> list[str]:
    def keys(schema: Any) -> Iterator[str]:
        """Yield the keys of a JSON schema, however deep they lie."""
        if isinstance(schema, dict):
            yield from schema.get("properties", {})
            for value in schema.values():
                yield from keys(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from keys(value)

    return sorted(set(keys(Recipe.model_json_schema())))


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, and reads 5e-5 as the number it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, key in enumerate(keys):
            if key != "<<" and key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep=deep)
