"""A look at a recipe's data before anything is learnt: labels checked, augmentation drawn."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from wsi_vit.pipeline.checking import CheckOutcome, check_recipe
from wsi_vit.pipeline.outcomes import Progress, silent
from wsi_vit.pipeline.showing import show_augmentation
from wsi_vit.recipe import Recipe
from wsi_vit.section import Section
from wsi_vit.settings import Settings


class Look(Section):
    """What was asked to be looked at, and what was found."""

    check: CheckOutcome | None = None
    augmentation: Path | None = None
    """The picture; None where it was not asked for, or where the labels are refused."""

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against training."""
        return self.check is None or self.check.passed

    @property
    def source_rows(self) -> list[dict[str, Any]]:
        """The source ids, most pixels first, as rows of a table."""
        return self.check.source_rows() if self.check else []

    @property
    def class_rows(self) -> list[dict[str, Any]]:
        """The classes as rows of a table."""
        return self.check.class_rows() if self.check else []

    @property
    def lines(self) -> list[str]:
        """The verdict with problems and warnings, then where the pictures are."""
        found = list(self.check.lines()) if self.check else []
        return [*found, f"Augmentation: {self.augmentation}"] if self.augmentation else found


def look(
    recipe: Recipe,
    asked: Collection[Literal["check", "show"]],
    *,
    out: Path | None = None,
    settings: Settings,
    progress: Progress = silent,
) -> Look:
    """Check a recipe's labels, draw its augmentation, or both; what is refused is not drawn.

    Raises:
        DatasetError: The augmentation alone was asked for, and the dataset cannot be built.
    """
    found = Look()
    if "check" in asked:
        found = Look(check=check_recipe(recipe, out=out, settings=settings, progress=progress))
    if "show" in asked and found.passed:
        path = show_augmentation(recipe, out=out, settings=settings, progress=progress)
        found = Look(check=found.check, augmentation=path)
    return found
