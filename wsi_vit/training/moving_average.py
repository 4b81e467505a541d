"""An exponential moving average of the weights, which is what gets judged, chosen and kept."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wsi_vit.models.model import Model


class MovingAverage:
    """The average of a model's trainable weights (Polyak and Juditsky 1992, with forgetting).

    Buffers, such as a batch norm's statistics, are no weights: they stay the model's own, as in
    `torch.optim.swa_utils`.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        named = cast(nn.Module, model).named_parameters()
        self._learning = {name: p for name, p in named if p.requires_grad}
        self._other = {name: p.detach().clone() for name, p in self._learning.items()}
        """The average; while the model wears that, the weights that learn."""

    @torch.no_grad()
    def follow(self, steps: int) -> None:
        """Take the model's weights in, after so many steps of the run.

        The average forgets fast at first: its decay is min(decay, (1 + t) / (10 + t)) after step
        t, as TensorFlow's `ExponentialMovingAverage` with `num_updates` has it.
        """
        decay = min(self.decay, (1 + steps) / (10 + steps))
        average = get_ema_multi_avg_fn(decay)
        average(list(self._other.values()), list(self._learning.values()), None)

    @contextmanager
    def worn(self) -> Generator[None]:
        """Let the model have the averaged weights; not while it learns."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Let model and average change places; no number is copied."""
        for name, parameter in self._learning.items():
            parameter.data, self._other[name] = self._other[name], parameter.data

    def learning(self) -> dict[str, Tensor]:
        """Return the weights that learn, by name; for a checkpoint, beside the model's own."""
        return {name: parameter.detach() for name, parameter in self._learning.items()}

    @torch.no_grad()
    def restore(self, learning: Mapping[str, Tensor]) -> None:
        """Take the model's weights for the average, and give it those that learn."""
        for name, parameter in self._learning.items():
            self._other[name].copy_(parameter)
            parameter.copy_(learning[name])
