"""Change a batch of images and their targets at random, on the device that trains.

Needs torch only. Geometry (flips, quarter turns; then one resampling for small angle, scale and
crop) comes first, then the stain, then the colours; everything is drawn for each image alone. All
draws are made whether or not they are used, so a probability that changes moves no other draw.
"""

import torch
from torch import Tensor

from wsi_vit.datasets.augmentation.colour import recolour, restain
from wsi_vit.datasets.augmentation.draws import Draws
from wsi_vit.datasets.augmentation.geometry import resample, turn
from wsi_vit.datasets.augmentation.section import Augmentation


def augment(
    images: Tensor, targets: Tensor, section: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return changed copies of a batch; what was given is left alone.

    Args:
        images: uint8 (B, 3, H, W), RGB.
        targets: int64 (B,) class ids or (B, labels) of several labels, which stay; or (B, H, W)
            masks, which move with the images: values stay integral, pixels from outside the image
            become 255.
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
