"""Change a batch of images and their targets at random, on the device that trains.

Needs torch only. Geometry (flips, quarter turns; then one resampling for small angle, scale and
crop) comes first, then the stain, then the colours; everything is drawn for each image alone. All
draws are made whether or not they are used, so a probability that changes moves no other draw.
"""

from typing import Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor

from wsi_vit.datasets.augmentation_colour import Colour, Stain, recolour, restain
from wsi_vit.datasets.augmentation_draws import Draws
from wsi_vit.datasets.augmentation_geometry import (
    Crop,
    Flip,
    QuarterTurns,
    Rotate,
    resample,
    turn,
)
from wsi_vit.section import Section

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


def augment(
    images: Tensor, targets: Tensor, section: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return changed copies of a batch; what was given is left alone.

    Args:
        images: uint8 (B, 3, H, W), RGB.
        targets: int64 (B,) class ids, which stay; or (B, H, W) masks, which move with the images:
            values stay integral, pixels from outside the image become 255.
        section: What may happen, how strongly and how often.
        generator: Decides everything. One on the CPU gives the same draws for every device.

    Returns:
        Images and targets of the same shapes, dtypes and device.
    """
    draws = Draws(len(images), generator)
    images, targets = images.clone(), targets.clone()
    turn(images, targets, draws, flip=section.flip, quarter_turns=section.quarter_turns)
    resample(images, targets, draws, rotate=section.rotate, crop=section.crop)
    restain(images, draws, section.stain)
    recolour(images, draws, section.colour)
    return images, targets
