"""What all models share that say a class of every pixel, and learn pixel by pixel.

There are no queries and no masks to be matched: the network gives a map of logits a class, mostly
coarser than the image, which is enlarged to it before the softmax.
"""

from typing import Any

import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from torch import Tensor

from wsi_vit.models.network import NetworkModel
from wsi_vit.models.vit.transformer import cross_entropy


class DenseModel(NetworkModel):
    """A model of one class a pixel; scores are (B, classes, H, W)."""

    section: Any
    """A `DenseSection`; each kind says which."""

    def answer(self, images: Tensor) -> Tensor:
        """Return logits as the network gives them of uint8 images (B, 3, H, W)."""
        return self.maps(self._pixels(images))

    def loss_of(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy over the pixels of a batch; those with id 255 are left out.

        A class's pixels count as its weight says. A batch with no known pixel has loss 0 and no
        gradient.
        """
        targets = self._targets(targets)
        logits = enlarged(answer, *targets.shape[1:])
        return cross_entropy(logits, targets, class_weights=self._class_weights, smoothing=0.0)

    def scores_of(self, answer: Tensor, images: Tensor) -> Tensor:
        """Return class probabilities (B, classes, H, W), float32, at the size of the images."""
        return enlarged(answer, *images.shape[-2:]).softmax(1)

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, classes, H, W), float32, of uint8 images (B, 3, H, W)."""
        return enlarged(self.answer(images), *images.shape[-2:])

    def maps(self, pixels: Tensor) -> Tensor:
        """Return logits as the network gives them, (B, classes, rows, columns).

        Args:
            pixels: Normalised, of the network's size (B, 3, input_px, input_px).
        """
        return self.network(pixels)


def enlarged(maps: Tensor, height: int, width: int) -> Tensor:
    """Return maps (B, classes, rows, columns) in float32 at an image's size, bilinearly."""
    maps = maps.float()
    if maps.shape[-2:] == (height, width):
        return maps
    return F.interpolate(maps, size=(height, width), mode="bilinear")
