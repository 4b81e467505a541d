"""Canny's edges as a crack detector: the rule that anybody would try before training a model.

Canny, "A Computational Approach to Edge Detection", IEEE PAMI 8 (1986) 679: smooth, differentiate,
keep the ridges of the gradient, keep weak ones that hang on to strong ones. A crack has two edges,
so what lies between near edges is closed. Its four numbers are chosen on training images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_vit.metrics import count_pairs, iou_per_class


@dataclass(frozen=True)
class Canny:
    """Edges of a grey picture, closed to lines."""

    sigma_px: float
    low: float
    """Of grey levels a pixel; weaker ridges are no edge."""
    high: float
    """A ridge of this strength is an edge, and with it all of `low` that touch it."""
    close_px: int
    """Gaps up to about twice this wide are filled."""

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return 1 where an RGB picture (H, W, 3) shows a crack, else 0, uint8 (H, W)."""
        smooth = ndimage.gaussian_filter(image.astype(np.float64).mean(axis=2), self.sigma_px)
        down, across = ndimage.sobel(smooth, axis=0) / 8, ndimage.sobel(smooth, axis=1) / 8
        ridges = _ridges(np.hypot(down, across), down, across)
        parts, count = ndimage.label(ridges > self.low, structure=np.ones((3, 3)))
        strong = np.zeros(count + 1, bool)
        strong[np.unique(parts[ridges > self.high])] = True
        strong[0] = False
        size = 2 * self.close_px + 1
        return ndimage.binary_closing(strong[parts], np.ones((size, size))).astype(np.uint8)


def _ridges(
    strength: NDArray[np.float64], down: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the gradient where it is greatest across the edge, else 0 (section VIII)."""
    angle = np.rint(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    steps = np.array([(0, 1), (1, 1), (1, 0), (1, -1)])[angle]
    padded = np.pad(strength, 1)
    rows, columns = np.indices(strength.shape) + 1
    ahead = padded[rows + steps[..., 0], columns + steps[..., 1]]
    behind = padded[rows - steps[..., 0], columns - steps[..., 1]]
    return np.where((strength >= ahead) & (strength > behind), strength, 0.0)


def tuned(examples: Sequence[Any]) -> Canny:
    """Return the Canny with the greatest crack IoU on training examples."""
    return max(_candidates(), key=lambda canny: crack_iou(canny, examples))


def crack_iou(canny: Canny, examples: Sequence[Any]) -> float:
    """Return the IoU of class 1 over all pixels of the examples."""
    counts = sum(count_pairs(e.target, canny(e.image), 2) for e in examples)
    return float(np.nan_to_num(iou_per_class(np.asarray(counts))[1]))


def _candidates() -> Iterator[Canny]:
    for sigma, low, close in product((2, 3, 4), (2, 4, 8), (3, 6, 10)):
        yield Canny(sigma, low, 3 * low, close)
