"""What trivial rules reach on the same examples: a model must beat these to be worth anything.

Colour alone goes far on stained tissue (on NCT-CRC, the mean colour passes 50 % and a histogram
82 %), so a high figure without these beside it says little.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.example import Example, Examples
from wsi_vit.labels import IGNORE_ID
from wsi_vit.metrics import count_pairs

Floats = NDArray[np.float64]

_SIDE_PX = 64
_HISTOGRAM_BINS = 8


class TileRule(Protocol):
    """A rule that names the class of a tile without a network."""

    name: str
    how: str

    def predict(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """Return training ids, shape (n,)."""
        ...


class MajorityRule:
    """Always the commonest class of the training split."""

    name = "majority class"
    how = "always the commonest class of the training split"

    def __init__(self, truth: NDArray[np.int64], classes: int) -> None:
        self.winner = int(np.bincount(truth, minlength=classes).argmax())

    def predict(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """Return the commonest class, whatever is shown."""
        return np.full(len(examples), self.winner, dtype=np.int64)


class MeanColourRule:
    """The class whose mean colour is nearest."""

    name = "mean colour"
    how = "the class whose mean RGB over the training tiles is nearest"

    def __init__(self, colours: Floats, truth: NDArray[np.int64]) -> None:
        self.ids = np.unique(truth)
        self.centres = np.stack([colours[truth == k].mean(axis=0) for k in self.ids])

    def predict(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """Return the class of the nearest mean colour."""
        colours = np.stack([mean_colour(example.image) for example in examples])
        return self.ids[_nearest(colours, self.centres)]


class HistogramRule:
    """A logistic regression on the colour histogram."""

    name = "colour histogram"
    how = "a logistic regression on an 8x8x8 RGB histogram of the tile"

    def __init__(self, histograms: Floats, truth: NDArray[np.int64]) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        self.only = int(truth[0]) if np.unique(truth).size == 1 else None
        self.model = LogisticRegression(C=10.0, max_iter=500)
        if self.only is None:
            with catch_warnings():  # a rule of thumb need not be optimal to the last digit
                simplefilter("ignore", ConvergenceWarning)
                self.model.fit(histograms, truth)

    def predict(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """Return the regression's class."""
        if self.only is not None:
            return np.full(len(examples), self.only, dtype=np.int64)
        features = np.stack([histogram(item.image) for item in examples])
        return np.asarray(self.model.predict(features), dtype=np.int64)


def learn_tile_rules(
    train: Examples, *, classes: int, most: int, seed: int, batch_size: int
) -> list[TileRule]:
    """Learn the rules from at most `most` training examples; none where there are none labelled."""
    colours: list[Floats] = []
    histograms: list[Floats] = []
    truth: list[int] = []
    for example in sampled(train, most=most, seed=seed, batch_size=batch_size):
        if int(example.target) == IGNORE_ID:
            continue
        colours.append(mean_colour(example.image))
        histograms.append(histogram(example.image))
        truth.append(int(example.target))
    if not truth:
        return []
    ids = np.array(truth, dtype=np.int64)
    return [
        MajorityRule(ids, classes),
        MeanColourRule(np.stack(colours), ids),
        HistogramRule(np.stack(histograms), ids),
    ]


class TileRules:
    """Asks every rule of every batch on its way to the model, and counts."""

    def __init__(self, rules: Sequence[TileRule], classes: int) -> None:
        self.rules, self.classes = rules, classes
        self.counts = [np.zeros((classes, classes), dtype=np.int64) for _ in rules]

    def __call__(self, examples: Sequence[Example]) -> None:
        """Count what each rule says of these examples."""
        truth = np.array([example.target for example in examples], dtype=np.uint8)
        for table, rule in zip(self.counts, self.rules, strict=True):
            said = rule.predict(examples).astype(np.uint8)
            table += count_pairs(truth, said, self.classes)


class PixelColourRule:
    """Each pixel gets the class whose mean colour is nearest; counts what that reaches."""

    name = "nearest colour"
    how = "each pixel gets the class whose mean RGB over the training pixels is nearest"

    def __init__(self, centres: Floats, ids: NDArray[np.integer], classes: int) -> None:
        self.ids, self.classes = ids.astype(np.uint8), classes
        # argmin |x - c|² = argmax x·c - |c|²/2: one small product a pixel.
        self.slopes = centres.T.astype(np.float32)
        self.offsets = (-(centres**2).sum(axis=1) / 2).astype(np.float32)
        self.counts = np.zeros((classes, classes), dtype=np.int64)

    def __call__(self, examples: Sequence[Example]) -> None:
        """Count what the rule says of these examples, at the mask's own resolution."""
        for example in examples:
            image = _at_size(example.image, example.target.shape)
            near = (image.astype(np.float32) @ self.slopes + self.offsets).argmax(axis=-1)
            self.counts += count_pairs(example.target, self.ids[near], self.classes)


def learn_pixel_rule(
    train: Examples, *, classes: int, most: int, seed: int, batch_size: int
) -> PixelColourRule | None:
    """Learn mean colours from at most `most` training examples; None where none is labelled."""
    sums, sizes = np.zeros((256, 3)), np.zeros(256)
    for example in sampled(train, most=most, seed=seed, batch_size=batch_size):
        image = _at_size(example.image, example.target.shape)
        ids = example.target.ravel()
        sizes += np.bincount(ids, minlength=256)
        for channel in range(3):
            values = image[..., channel].ravel()
            sums[:, channel] += np.bincount(ids, weights=values, minlength=256)
    seen = np.flatnonzero(sizes[:classes])
    if not seen.size:
        return None
    return PixelColourRule(sums[seen] / sizes[seen, None], seen, classes)


def constant_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what calling everything one class would have counted, for each class in turn.

    `counts` (classes, classes) gives the truth's totals; entry k of the (classes, classes, classes)
    result is the table of "all is class k".
    """
    classes = len(counts)
    tables = np.zeros((classes, classes, classes), dtype=np.int64)
    for k in range(classes):
        tables[k, :, k] = counts.sum(axis=1)
    return tables


def mean_colour(image: NDArray[np.uint8]) -> Floats:
    """Return the mean RGB of an image (H, W, 3), shape (3,)."""
    return _thinned(image).reshape(-1, 3).mean(axis=0)


def histogram(image: NDArray[np.uint8]) -> Floats:
    """Return the square roots of an RGB histogram's shares, shape (512,)."""
    coarse = _thinned(image).reshape(-1, 3).astype(np.int64) * _HISTOGRAM_BINS // 256
    cells = (coarse[:, 0] * _HISTOGRAM_BINS + coarse[:, 1]) * _HISTOGRAM_BINS + coarse[:, 2]
    shares = np.bincount(cells, minlength=_HISTOGRAM_BINS**3) / len(cells)
    return np.sqrt(shares)


def _thinned(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = max(1, min(image.shape[:2]) // _SIDE_PX)
    return image[::step, ::step]


def _at_size(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image with one pixel for each of a mask's (nearest), itself where they agree."""
    if image.shape[:2] == shape:
        return image
    rows = np.arange(shape[0]) * image.shape[0] // shape[0]
    columns = np.arange(shape[1]) * image.shape[1] // shape[1]
    return image[rows[:, None], columns]


def _nearest(points: Floats, centres: Floats) -> NDArray[np.intp]:
    return ((points[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)


def sampled(train: Examples, *, most: int, seed: int, batch_size: int) -> Iterator[Example]:
    """Yield at most `most` examples, drawn at random, in the split's order."""
    order = np.random.default_rng(seed).permutation(len(train))[:most]
    order.sort()
    for start in range(0, len(order), batch_size):
        yield from train.__getitems__(order[start : start + batch_size].tolist())
