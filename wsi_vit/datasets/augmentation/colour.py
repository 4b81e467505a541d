"""How the pixels of a batch look: the amounts of their stains, and their colours."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from wsi_vit.datasets.augmentation.draws import Draws, to_bytes
from wsi_vit.datasets.augmentation.section import Colour, Stain

# Ruifrok & Johnston 2001 (Anal Quant Cytol Histol 23:291), optical density of red, green, blue.
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Haematoxylin, eosin, DAB; a row a stain, brought to length 1 before use."""

_GREY = (0.299, 0.587, 0.114)
"""ITU-R BT.601 weights of red, green and blue."""


def restain(images: Tensor, draws: Draws, section: Stain) -> None:
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
    images[rows] = to_bytes(changed)


def recolour(images: Tensor, draws: Draws, section: Colour) -> None:
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
    mean = chosen.mean(dim=(2, 3)) @ torch.tensor(_GREY, device=chosen.device)
    offset = mean[:, None] * ((1 - contrast) * bright)[rows, :, 0].to(chosen.device)
    # `_mixed` has colours in rows from the left, so the matrix is turned over.
    changed = _mixed(chosen, matrix.transpose(1, 2), offset.expand(-1, 3))
    images[rows_there] = to_bytes(changed)


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
