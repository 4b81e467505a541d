"""The random numbers of one batch: drawn for each image alone, in an order that never changes."""

import torch
from torch import Tensor


class Draws:
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


def to_bytes(images: Tensor) -> Tensor:
    """Round float images to uint8, in place where that is possible."""
    return images.round_().clamp_(0, 255).to(torch.uint8)
