"""Where a dataset comes from: a cohort of slides, or a folder of images."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from wsi_vit.datasets.folder import FolderSource, MaskRule
from wsi_vit.section import Section
from wsi_vit.slides.tile_labels import LabellingSection
from wsi_vit.slides.tiles import TilesSection

__all__ = ["AnySource", "CohortSource", "FolderSource", "MaskRule"]


class CohortSource(Section):
    """Annotated slides, cut to tiles."""

    kind: Literal["cohort"] = "cohort"
    cohort: Path | None = None
    """The cohort.csv, or a folder of slides."""
    tiles: TilesSection
    labelling: LabellingSection = LabellingSection()


AnySource = Annotated[CohortSource | FolderSource, Field(discriminator="kind")]
"""Where the examples come from."""
