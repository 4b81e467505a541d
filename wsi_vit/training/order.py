"""Which images an epoch shows, and in which order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsi_vit.training.section import Reading

_WHOLE = 1 << 16
"""Factors are whole numbers of this part of one, so that sums are exact on every machine."""

_STRETCH = 64
"""Images that are read one after the other: neighbours on a slide, so not too many."""
_WINDOW = 32 * _STRETCH
"""Images that are mixed: of at most as many slides as a process keeps open."""


class EpochOrder:
    """The images of every epoch: each at least once, those that show rare classes more often.

    It follows from seed and epoch alone, so a resumed run sees what it would have seen, however
    many processes read. All epochs are equally long, so that the schedule of the rate knows its
    steps.
    """

    def __init__(
        self, factors: NDArray[np.float64], *, seed: int, reading: Reading = "random"
    ) -> None:
        """Take how often each image comes on average, (n,), at least 1, as they are stored."""
        self._parts = np.ceil(factors * _WHOLE).astype(np.int64)
        self._seed = seed
        self._reading = reading

    def __len__(self) -> int:
        """Return the images of an epoch."""
        return -(-int(self._parts.sum()) // _WHOLE)

    def of(self, epoch: int) -> NDArray[np.int64]:
        """Return the positions of an epoch's images, in its order, (images,)."""
        chance = np.random.default_rng([self._seed, epoch])
        order = chance.permutation(len(self._parts))
        times = _times(self._parts[order], int(chance.integers(_WHOLE)))
        shown = np.repeat(order, times)
        return (
            streamed(shown, chance) if self._reading == "streaming" else chance.permutation(shown)
        )


def streamed(shown: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.int64]:
    """Return positions in an order that a disk reads almost in sequence, and yet mixed.

    As they are stored, they are cut into stretches; the stretches are shuffled, and then the images
    within each window of some dozens of stretches. At any time few files are read from, and of
    these a stretch each. (Block shuffling with a buffer: Xu et al., SIGMOD 2022, "CorgiPile".)

    Args:
        shown: Positions, in any order, some more than once.
        chance: Decides.
    """
    starts = np.arange(0, len(shown), _STRETCH)
    stretches = np.split(np.sort(shown), starts[1:])
    mixed = np.concatenate([stretches[i] for i in chance.permutation(len(stretches))])
    windows = np.split(mixed, np.arange(_WINDOW, len(mixed), _WINDOW))
    return np.concatenate([chance.permutation(window) for window in windows])


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
