"""Which tiles a recipe leaves out although they show tissue."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.section import Section
from wsi_vit.slides.quality.measures import TileMeasures

Limit = Literal["blur", "pen", "dark", "glass"]
"""What tiles can be limited by: the measures of `TileMeasures`, and the shard's columns."""


class QualitySection(Section):
    """Limits that tiles must keep; each is off unless a recipe names it.

    All but `min_sharpness` are held against the overview that the tissue is found on, so they cost
    nothing.
    """

    max_blur: float = Field(default=1.0, ge=0, le=1)
    """Largest blur that keeps a tile; a tile whose blur is not known is kept."""
    max_pen: float = Field(default=1.0, ge=0, le=1)
    """Largest share of a tile under ink."""
    max_dark: float = Field(default=1.0, ge=0, le=1)
    """Largest share of a tile in folds, or otherwise about twice as dense as the slide's tissue."""
    max_glass: float = Field(default=1.0, ge=0, le=1)
    """Largest share of a tile that lets all light pass: glass, lumen, fat."""
    min_sharpness: float = Field(default=0.0, ge=0)
    """Least sharpness that keeps a tile; 0 keeps all. Depends on stain and resolution. Above 0 even
    tiles that are kept as the scanner wrote them are decoded for it, which takes ten times longer
    than keeping them; at 0 their sharpness is not known, and recorded as null."""

    def broken(self, measures: TileMeasures) -> dict[Limit, NDArray[np.bool_]]:
        """Return which tiles break each limit that is set, shape (n,) each."""
        limits: dict[Limit, float] = {
            name: getattr(self, f"max_{name}") for name in get_args(Limit)
        }
        return {
            name: getattr(measures, name) > limit for name, limit in limits.items() if limit < 1
        }
