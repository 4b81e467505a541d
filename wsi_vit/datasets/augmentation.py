"""Change a batch of images and their targets at random, on the device that trains.

Needs torch only. Geometry (flips, quarter turns; then one resampling for small angle, scale and
shift) comes first, then the stain, then the colours; everything is drawn for each image alone. All
draws are made whether or not they are used, so a probability that changes moves no other draw.
"""

import math
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from wsi_vit.labels import IGNORE_ID
from wsi_vit.section import Section

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
"""How many of the images are changed, on average."""

# Ruifrok & Johnston 2001 (Anal Quant Cytol Histol 23:291), optical density of red, green, blue.
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Haematoxylin, eosin, DAB; a row a stain, brought to length 1 before use."""

_GREY = (0.299, 0.587, 0.114)
"""ITU-R BT.601 weights of red, green and blue."""


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


class Scale(Section):
    """Zoom, and cut out a part of the image that lies at random."""

    probability: Probability = 0.3
    smallest: float = Field(default=0.9, gt=0.1, le=10.0)
    """Below 1 the image shrinks, and its edge is mirrored (ignored in the mask)."""
    largest: float = Field(default=1.25, gt=0.1, le=10.0)
    """Above 1 a part of `1 / largest` of a side fills the image."""

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


Preset = Literal["none", "histology", "strong", "scenes"]

_OFF: dict[str, dict[str, float]] = {
    "flip": {"probability": 0.0, "upside_down": 0.0},
    **{name: {"probability": 0.0} for name in ("quarter_turns", "rotate", "scale")},
    **{name: {"probability": 0.0} for name in ("stain", "colour")},
}
_PRESETS: dict[str, dict[str, dict[str, float]]] = {
    "none": _OFF,
    "histology": {},
    "strong": {
        "rotate": {"probability": 0.5, "degrees": 45.0},
        "scale": {"probability": 0.5, "smallest": 0.75, "largest": 1.5},
        "stain": {"probability": 0.8, "strength": 0.2},
        "colour": {"probability": 0.8, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    },
    "scenes": {
        "flip": {"upside_down": 0.0},
        "quarter_turns": {"probability": 0.0},
        "stain": {"probability": 0.0},
        "colour": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    },
}


class Augmentation(Section):
    """What may happen to an image while it is learnt from; a probability of 0 switches it off."""

    preset: Preset = "histology"
    """Where the values not given come from; `scenes` keeps the sky above and leaves stains out."""
    flip: Flip = Flip()
    quarter_turns: QuarterTurns = QuarterTurns()
    rotate: Rotate = Rotate()
    scale: Scale = Scale()
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
    draws = _Draws(len(images), generator)
    images, targets = images.clone(), targets.clone()
    _turn(images, targets, section, draws)
    _resample(images, targets, section, draws)
    _restain(images, section.stain, draws)
    _recolour(images, section.colour, draws)
    return images, targets


class _Draws:
    """Uniform numbers of one batch, drawn in a fixed order on the generator's own device."""

    def __init__(self, batch: int, generator: torch.Generator) -> None:
        self.batch, self.generator = batch, generator

    def uniform(self, low: float, high: float, *, columns: int = 1) -> Tensor:
        """Return float32 (B, columns) on the CPU."""
        shape = (self.batch, columns)
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return drawn.cpu() * (high - low) + low

    def chosen(self, probability: float) -> Tensor:
        """Return which images are changed, bool (B,) on the CPU."""
        return self.uniform(0.0, 1.0)[:, 0] < probability


def _turn(images: Tensor, targets: Tensor, section: Augmentation, draws: _Draws) -> None:
    """Flip and turn in place by whole pixels, so that nothing is interpolated."""
    across = draws.chosen(section.flip.probability)
    down = draws.chosen(section.flip.upside_down)
    turned = draws.chosen(section.quarter_turns.probability)
    quarters = draws.uniform(1.0, 4.0)[:, 0].floor().clamp(max=3).long()
    if images.shape[-1] != images.shape[-2]:
        quarters = torch.full_like(quarters, 2)
    quarters = torch.where(turned, quarters, 0)
    # The eight symmetries of a square: group images that share one, and move each group at once.
    code = across * 8 + down * 4 + quarters
    for value in code.unique().tolist():
        if value:
            rows = (code == value).nonzero()[:, 0].to(images.device)
            for batch in (images, targets) if targets.ndim > 1 else (images,):
                batch[rows] = _moved(batch[rows], value)


def _moved(batch: Tensor, code: int) -> Tensor:
    axes = [axis for bit, axis in ((8, -1), (4, -2)) if code & bit]
    return torch.rot90(batch.flip(axes) if axes else batch, code % 4, (-2, -1))


def _resample(images: Tensor, targets: Tensor, section: Augmentation, draws: _Draws) -> None:
    """Turn by a small angle, zoom and shift in place, interpolating once."""
    angle = draws.uniform(-section.rotate.degrees, section.rotate.degrees)[:, 0]
    turned = draws.chosen(section.rotate.probability) & (angle != 0)
    span = math.log(section.scale.smallest), math.log(section.scale.largest)
    zoom = draws.uniform(*span)[:, 0].exp()
    zoomed = draws.chosen(section.scale.probability) & (zoom != 1)
    place = draws.uniform(-1.0, 1.0, columns=2)
    rows = (turned | zoomed).nonzero()[:, 0]
    if not len(rows):
        return
    angle, zoom = torch.where(turned, angle, 0.0)[rows], torch.where(zoomed, zoom, 1.0)[rows]
    # Where the image is enlarged, the part that is seen may lie anywhere inside it.
    shift = place[rows] * (1 - 1 / zoom).clamp(min=0)[:, None]
    height, width = images.shape[-2:]
    theta = _affine(angle.deg2rad(), zoom, shift, width / height).to(images.device)
    rows = rows.to(images.device)
    grid = functional.affine_grid(theta, [len(rows), 1, height, width], align_corners=False)
    images[rows] = _bytes(
        functional.grid_sample(
            images[rows].float(), grid, padding_mode="reflection", align_corners=False
        )
    )
    if targets.ndim > 1:
        targets[rows] = _nearest(targets[rows], grid)


def _affine(angle: Tensor, zoom: Tensor, shift: Tensor, aspect: float) -> Tensor:
    """Return (n, 2, 3) maps from output to input, in coordinates of -1 to 1 a side."""
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    rows = (
        torch.stack([cosine, -sine / aspect, shift[:, 0]], dim=1),
        torch.stack([sine * aspect, cosine, shift[:, 1]], dim=1),
    )
    return torch.stack(rows, dim=1)


def _nearest(masks: Tensor, grid: Tensor) -> Tensor:
    """Sample masks (n, H, W) at the nearest pixel; what lies outside is ignored."""
    # Outside counts as 0, so 0 must stand for "ignored" while sampling.
    shifted = (masks - IGNORE_ID).float()[:, None]
    found = functional.grid_sample(
        shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return found[:, 0].round().to(masks.dtype) + IGNORE_ID


def _restain(images: Tensor, section: Stain, draws: _Draws) -> None:
    """Multiply and shift the stains in place.

    Separation, change and mixing are linear in optical density, so one 3x3 matrix an image does.
    """
    strength = section.strength
    factors = draws.uniform(1 - strength, 1 + strength, columns=3)
    shifts = draws.uniform(-strength, strength, columns=3)
    rows = draws.chosen(section.probability if strength else 0.0).nonzero()[:, 0]
    if not len(rows):
        return
    stains = functional.normalize(torch.tensor(_STAINS), dim=1)
    matrix = torch.linalg.inv(stains) @ torch.diag_embed(factors[rows]) @ stains
    offset = shifts[rows] @ stains
    rows = rows.to(images.device)
    # One grey level is added so that black has a density; it is taken off again afterwards.
    density = images[rows].float().add_(1).div_(256).log_().neg_()
    changed = _mixed(density, matrix, offset).neg_().exp_().mul_(256).sub_(1)
    images[rows] = _bytes(changed)


def _recolour(images: Tensor, section: Colour, draws: _Draws) -> None:
    """Change brightness, contrast, saturation and hue in place, as one linear map an image."""
    bright, contrast, colourful = (
        1 + draws.uniform(-limit, limit)[:, 0, None, None]
        for limit in (section.brightness, section.contrast, section.saturation)
    )
    hue = draws.uniform(-section.hue_degrees, section.hue_degrees)[:, 0].deg2rad()
    rows = draws.chosen(section.probability).nonzero()[:, 0]
    if not len(rows):
        return
    grey = torch.tensor(_GREY).expand(3, 3)
    saturate = colourful * torch.eye(3) + (1 - colourful) * grey
    matrix = ((bright * contrast) * saturate @ _hue_turn(hue))[rows]
    rows_there = rows.to(images.device)
    chosen = images[rows_there].float()
    # Contrast is about the mean grey of the image.
    mean = (chosen.mean(dim=(2, 3)).cpu() @ torch.tensor(_GREY))[:, None]
    offset = mean * ((1 - contrast) * bright)[rows, :, 0]
    # `_mixed` has colours in rows from the left, so the matrix is turned over.
    changed = _mixed(chosen, matrix.transpose(1, 2), offset.expand(-1, 3))
    images[rows_there] = _bytes(changed)


def _hue_turn(angle: Tensor) -> Tensor:
    """Return rotations (n, 3, 3) about the grey axis of the colour cube (Rodrigues' formula)."""
    axis = torch.full((3,), 1 / math.sqrt(3))
    cross = torch.linalg.cross(torch.eye(3), axis.expand(3, 3)).neg()
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cosine * torch.eye(3) + sine * cross + (1 - cosine) * torch.outer(axis, axis)


def _mixed(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Return row vectors of colour times `matrix`, plus `offset`: (n, 3, H, W) float32."""
    flat = images.flatten(2)
    matrix, offset = matrix.to(images.device), offset.to(images.device)
    return torch.baddbmm(offset[:, :, None], matrix.transpose(1, 2), flat).view_as(images)


def _bytes(images: Tensor) -> Tensor:
    return images.round_().clamp_(0, 255).to(torch.uint8)
