"""What a recipe says of the stains of its slides."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsi_vit.section import Section

Share = Annotated[float, Field(ge=0.0, le=2.0)]
Density = tuple[Share, Share, Share]
"""How much a stain absorbs of red, green and blue, as a direction in optical density."""

Level = Annotated[float, Field(gt=0, le=255)]
Amount = Annotated[float, Field(gt=0, le=5)]


class StainTarget(Section):
    """The stains that slides are brought to; written out in full beside every model.

    The directions are those of Ruifrok & Johnston 2001 (Anal Quant Cytol Histol 23:291), the
    amounts those of a slide that is neither pale nor dark.
    """

    haematoxylin: Density = (0.644, 0.717, 0.267)
    eosin: Density = (0.093, 0.954, 0.283)
    amounts: tuple[Amount, Amount] = (0.9, 0.6)
    """The 99th percentile of the optical density of each stain."""
    glass: tuple[Level, Level, Level] = (245.0, 245.0, 245.0)
    """Colour of empty glass."""

    @model_validator(mode="after")
    def _two_stains(self) -> "StainTarget":
        red, *_ = self.haematoxylin
        if red * sum(self.eosin) <= self.eosin[0] * sum(self.haematoxylin):
            raise ValueError("haematoxylin must absorb more red, for its size, than eosin does")
        return self


class NoStain(Section):
    """Slides keep the colours that the scanner saw."""

    kind: Literal["none"] = "none"


class MacenkoStain(Section):
    """Haematoxylin and eosin of each slide are found, and brought to a target's.

    A slide where they cannot be found keeps its colours, and is named with the reason.
    """

    kind: Literal["macenko"] = "macenko"
    target: StainTarget = StainTarget()
    mpp: float = Field(default=1.0, gt=0)
    """Resolution that is looked at, in micrometres per pixel: a nucleus is several pixels wide."""
    patches: int = Field(default=64, ge=4, le=1024)
    """Places on the tissue that are looked at."""
    seed: int = 0
    """Decides which."""


AnyStain = Annotated[NoStain | MacenkoStain, Field(discriminator="kind")]
"""What happens to the stains of slides before a model sees them."""
