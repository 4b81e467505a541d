"""Which images an epoch shows, and in which order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WHOLE = 1 << 16
"""Factors are whole numbers of this part of one, so that sums are exact on every machine."""


class EpochOrder:
    """The images of every epoch: each at least once, those that show rare classes more often.

    It follows from seed and epoch alone, so a resumed run sees what it would have seen. All epochs
    are equally long, so that the schedule of the rate knows its steps.
    """

    def __init__(self, factors: NDArray[np.float64], *, seed: int) -> None:
        """Take how often each image comes on average, (n,), at least 1."""
        self._parts = np.ceil(factors * _WHOLE).astype(np.int64)
        self._seed = seed

    def __len__(self) -> int:
        """Return the images of an epoch."""
        return -(-int(self._parts.sum()) // _WHOLE)

    def of(self, epoch: int) -> NDArray[np.int64]:
        """Return the positions of an epoch's images, in its order, (images,)."""
        chance = np.random.default_rng([self._seed, epoch])
        order = chance.permutation(len(self._parts))
        times = _times(self._parts[order], int(chance.integers(_WHOLE)))
        return chance.permutation(np.repeat(order, times))


def repeat_factors(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how often each image shall come, (n,), at least 1 (Gupta et al. 2019, LVIS, app. B).

    r(image) = max over its classes c of max(1, sqrt(t / f(c))), where f(c) is the share of images
    that show c. A class is rare where fewer images show it than the average class: t is the mean
    of f over the classes that occur. The paper sets t = 0.001 for 1,200 classes; a handful of
    classes needs a t that knows them. Where an image has one class, t is 1 / classes.

    Args:
        counts: What each image shows of each class, images or pixels, (n, classes).
    """
    shows = counts > 0
    share = shows.mean(axis=0)
    occurs = share > 0
    if not occurs.any():
        return np.ones(len(counts))
    factor = np.ones(len(share))
    factor[occurs] = np.maximum(1.0, np.sqrt(share[occurs].mean() / share[occurs]))
    return np.where(shows, factor, 1.0).max(axis=1)


def cut(order: Sequence[int] | NDArray[np.int64], size: int) -> list[list[int]]:
    """Cut an order into batches; the last one may be shorter, no image is left out."""
    whole = [int(position) for position in order]
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _times(parts: NDArray[np.int64], start: int) -> NDArray[np.int64]:
    """Return how often each image comes: its factor, rounded up or down; their sum is given.

    Systematic sampling (Madow 1949): marks lie one whole apart along the factors laid end to end.
    """
    ends = np.cumsum(parts)
    ends[-1] = -(-ends[-1] // _WHOLE) * _WHOLE
    return np.diff((ends + start) // _WHOLE, prepend=0)
