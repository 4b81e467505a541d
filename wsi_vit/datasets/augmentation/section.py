"""What may happen to a batch: plain values, so that reading a recipe loads no torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from wsi_vit.section import Section

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
"""How many of the images are changed, on average."""

Preset = Literal["none", "histology", "strong", "scenes"]

_OFF: dict[str, dict[str, float]] = {
    "flip": {"probability": 0.0, "upside_down": 0.0},
    **{name: {"probability": 0.0} for name in ("quarter_turns", "rotate", "crop")},
    **{name: {"probability": 0.0} for name in ("stain", "colour")},
}
_PRESETS: dict[str, dict[str, dict[str, float]]] = {
    "none": _OFF,
    "histology": {},
    "strong": {
        "rotate": {"probability": 0.5, "degrees": 45.0},
        "crop": {"probability": 0.5, "smallest": 0.75, "largest": 1.5},
        "stain": {"probability": 0.8, "strength": 0.2},
        "colour": {"probability": 0.8, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    },
    "scenes": {
        "flip": {"upside_down": 0.0},
        "quarter_turns": {"probability": 0.0},
        # Scale and floor of mmsegmentation's and MaskFormer's recipes for ADE20K and Cityscapes.
        "crop": {"probability": 1.0, "smallest": 0.5, "largest": 2.0, "least_other": 0.25},
        "stain": {"probability": 0.0},
        "colour": {"brightness": 0.2, "contrast": 0.4, "saturation": 0.4, "hue_degrees": 10.0},
    },
}


class Flip(Section):
    """Mirror left and right, and up and down, each by its own draw."""

    probability: Probability = 0.5
    """Of left and right."""
    upside_down: Probability = 0.5
    """Of up and down; 0 for photographs, where the sky is above."""


class QuarterTurns(Section):
    """Turn by 90, 180 or 270 degrees, equally likely; images that are not square by 180 only."""

    probability: Probability = 0.75


class Rotate(Section):
    """Turn by a small angle; corners are mirrored in the image and ignored in the mask."""

    probability: Probability = 0.3
    degrees: float = Field(default=10.0, ge=0.0, le=180.0)
    """Largest angle to either side."""


class Crop(Section):
    """Zoom, and cut out a part of the image that lies at random."""

    probability: Probability = 0.3
    smallest: float = Field(default=0.9, gt=0.1, le=10.0)
    """Below 1 the image shrinks, and its edge is mirrored (ignored in the mask)."""
    largest: float = Field(default=1.25, gt=0.1, le=10.0)
    """Above 1 a part of `1 / largest` of a side fills the image."""
    least_other: float = Field(default=0.0, ge=0.0, lt=1.0)
    """The floor: at least this share of the known pixels in the part belongs to other classes than
    its largest one. Of ten places the first that is so, else the best, is taken; 0 takes any.
    """

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError("smallest is larger than largest")
        return self


class Colour(Section):
    """Change brightness, contrast, saturation and hue, as scanners and cameras do."""

    probability: Probability = 0.5
    brightness: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Largest relative change."""
    contrast: float = Field(default=0.1, ge=0.0, lt=1.0)
    saturation: float = Field(default=0.1, ge=0.0, lt=1.0)
    hue_degrees: float = Field(default=5.0, ge=0.0, le=180.0)
    """Largest turn about the grey axis, to either side."""


class Stain(Section):
    """Change each stain's amount in optical density (Tellez et al. 2018, IEEE TMI 37:2126).

    Each of haematoxylin, eosin and the residual is multiplied by U(1 - s, 1 + s) and shifted by
    U(-s, s), where s is the strength; 0.05 is light, 0.2 strong.
    """

    probability: Probability = 0.5
    strength: float = Field(default=0.05, ge=0.0, lt=1.0)


class Augmentation(Section):
    """What may happen to an image while it is learnt from; a probability of 0 switches it off."""

    preset: Preset = "histology"
    """Where the values not given come from; `scenes` keeps the sky above and leaves stains out."""
    flip: Flip = Flip()
    quarter_turns: QuarterTurns = QuarterTurns()
    rotate: Rotate = Rotate()
    crop: Crop = Crop()
    stain: Stain = Stain()
    colour: Colour = Colour()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        """Lay what was given over the preset's values, part by part."""
        if not isinstance(given, dict):
            return given
        filled = dict(given)
        for name, values in _PRESETS.get(str(given.get("preset")), {}).items():
            part = given.get(name, {})
            filled[name] = {**values, **part} if isinstance(part, dict) else part
        return filled
