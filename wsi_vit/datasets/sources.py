"""Where a dataset comes from: a cohort of slides, or images with labels."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from wsi_vit.datasets.camvid import CamVidSource
from wsi_vit.datasets.digits import DigitsSource
from wsi_vit.datasets.folder import FolderSource, MaskRule
from wsi_vit.datasets.hub import HubSource
from wsi_vit.datasets.scene_parse import SceneParseSource
from wsi_vit.datasets.segments import SegmentsSource
from wsi_vit.section import Section
from wsi_vit.slides.stain.section import AnyStain, NoStain
from wsi_vit.slides.tile_labels import LabellingSection
from wsi_vit.slides.tiles import TilesSection

__all__ = [
    "AnyImageSource",
    "AnySource",
    "CamVidSource",
    "CohortSource",
    "DigitsSource",
    "FolderSource",
    "HubSource",
    "MaskRule",
    "SceneParseSource",
    "SegmentsSource",
]


class CohortSource(Section):
    """Annotated slides, cut to tiles."""

    kind: Literal["cohort"] = "cohort"
    cohort: Path | None = None
    """The cohort.csv, or a folder of slides."""
    licence: str | None = None
    """The hub's identifier of the slides' licence, such as `cc-by-4.0`; publishing needs it."""
    tiles: TilesSection
    labelling: LabellingSection = LabellingSection()
    stain: AnyStain = NoStain()
    """What happens to the stains of tiles when they are read; stored tiles are the scanner's."""


AnyImageSource = (
    FolderSource | HubSource | SceneParseSource | CamVidSource | SegmentsSource | DigitsSource
)
"""Images with labels, in one of the layouts that they come in."""

AnySource = Annotated[CohortSource | AnyImageSource, Field(discriminator="kind")]
"""Where the examples come from."""
