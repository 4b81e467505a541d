"""How a model is applied."""

from typing import Literal

from pydantic import Field

from wsi_vit.models.averaging import Average
from wsi_vit.section import Section

_SPEED = {"batch_size", "memory_mb"}
_ONLY_SLIDES = {"min_tissue", "min_area_um2", "outline_px"}
_ONLY_PICTURES = {"tile_from", "tile_px"}


class PredictionSection(Section):
    """What decides how a slide or a picture is predicted, and how the result is drawn.

    A run saves the `prediction:` of its recipe beside the weights, so that a model is applied as it
    was meant to wherever it goes; who predicts may ask for something else.
    """

    overlap: float = Field(default=0.25, ge=0, le=0.75)
    """Share of a tile's side that neighbours have in common; segmentation only."""
    average: Average = "none"
    """Over which mirrored and turned views scores are averaged: none, flips or symmetries."""
    tile_px: int | None = Field(default=None, ge=32, le=4096)
    """Side of the tiles of a large picture, in its own pixels: about the size of the pictures that
    the model learnt from, if those were shrunk whole to its input. Absent: the model's input."""
    tile_from: float = Field(default=3.0, ge=1, le=8)
    """A segmented picture longer than this many tiles is tiled; a smaller one goes through whole,
    brought to the model's input as in training."""
    min_tissue: float | None = Field(default=None, ge=0, le=1)
    """Least share of tissue of a predicted tile; absent: any tissue for segmentation, what the
    model was trained with for classification."""
    min_area_um2: float = Field(default=1000.0, ge=0)
    """Outlines and holes below this area are left out: 1000 µm² is a patch of some ten cells."""
    outline_px: int = Field(default=8_000_000, ge=1_000_000)
    """Outlines follow the finest level of the class map that has at most this many pixels."""
    overview_px: int = Field(default=1100, ge=200, le=6000)
    """Longest side of each picture of an overview."""
    batch_size: int = Field(default=16, ge=1)
    """Tiles or pictures that go through the model at once; shapes no result."""
    memory_mb: int = Field(default=512, ge=32)
    """Ceiling of what stitching may hold, and of what is decoded ahead; what is wider is done in
    vertical stripes."""

    def tile_side_px(self, input_px: int) -> int:
        """Return the side of a large picture's tiles for a model with this input."""
        return self.tile_px or input_px

    def shaping(self, what: Literal["slides", "pictures"]) -> dict[str, object]:
        """Return the settings that decide a result: all but how fast it is made."""
        others = _ONLY_PICTURES if what == "slides" else _ONLY_SLIDES
        return self.model_dump(mode="json", exclude=_SPEED | others)
