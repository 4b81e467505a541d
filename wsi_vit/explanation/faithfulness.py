"""Whether a map is faithful: what becomes of the score when what it points at is taken away.

Petsiuk, Das & Saenko, "RISE" (BMVC 2018), section 4.3: deletion replaces the cells of a picture
from the most to the least important and insertion brings them back in the same order; the area
under the score, over the share of cells, is small for deletion and large for insertion if the map
is right. As there, deletion ends in one colour, which leaves no trace of what was there (the
picture's mean, so that stain and brightness stay those of the slide), and insertion begins with the
picture blurred, because edges of pasted cells on a flat ground can look like findings. The blur is
as wide as a cell, the smallest thing that is inserted.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.explanation.section import FaithfulnessSection
from wsi_vit.section import Section

Score = Callable[[Tensor], Tensor]
"""Scores (N,) of uint8 images (N, 3, H, W)."""
_REACH = 3
"""A Gaussian is cut off at so many standard deviations."""
_RESAMPLES = 2000
_TOGETHER = 32
"""Images that are asked about at once."""


class Curve(Section):
    """The area under the score of a map, and of random maps."""

    area: float
    """Mean score along the way, 0 to 1, of the map."""
    random: float
    """The same of random maps, their mean."""
    random_low: float
    random_high: float
    """Between these lie 95 % of the random maps."""


class Faithfulness(Section):
    """How a map does beside random ones."""

    deletion: Curve
    """Lower is better."""
    insertion: Curve
    """Higher is better."""


class Gain(Section):
    """By how much maps of several pictures are better than random ones, with 95 % intervals."""

    pictures: int
    deletion: float
    """Mean over pictures of random area - area; above 0 is better than random."""
    deletion_low: float
    deletion_high: float
    insertion: float
    """Mean over pictures of area - random area; above 0 is better than random."""
    insertion_low: float
    insertion_high: float


def judge_map(
    score: Score,
    image: Tensor,
    importance: NDArray[np.floating],
    section: FaithfulnessSection,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Faithfulness:
    """Return how a map of a picture does beside random maps on the same grid.

    Args:
        score: The score of the explained class.
        image: uint8 (3, H, W).
        importance: (rows, columns), higher is more important.
        section: How many steps and random maps, and the seed.
        progress: Told how many maps are tested, and how many there are.
    """
    rng = np.random.default_rng(section.seed)
    random_maps = rng.random((section.random_maps, *importance.shape))
    maps = [importance, *random_maps]
    deleted, inserted = list[float](), list[float]()
    for done, one in enumerate(maps, start=1):
        deleted.append(area(score, image, one, section.steps, "deletion"))
        inserted.append(area(score, image, one, section.steps, "insertion"))
        if progress:
            progress(done, len(maps))
    return Faithfulness(deletion=_curve(deleted), insertion=_curve(inserted))


def area(
    score: Score,
    image: Tensor,
    importance: NDArray[np.floating],
    steps: int,
    way: Literal["deletion", "insertion"],
) -> float:
    """Return the mean score (by trapezoids) while cells are deleted or inserted, best first.

    Equal cells go in the order of rows.
    """
    order = np.argsort(-importance.ravel(), kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    place = torch.from_numpy(ranks.reshape(importance.shape)).to(image.device)
    counts = np.linspace(0, len(order), min(steps, len(order)) + 1).round().astype(int)
    other = mean_coloured(image) if way == "deletion" else blurred(image, importance.shape)
    before, after = (image, other) if way == "deletion" else (other, image)
    scores = torch.cat(
        [score(part) for part in _steps(before, after, place, counts.tolist())]
    ).cpu()
    return float(np.trapezoid(scores.double().numpy(), counts / len(order)))


def gain(tested: Sequence[Faithfulness], *, seed: int = 0) -> Gain:
    """Return by how much maps beat random ones over pictures, by a bootstrap over the pictures."""
    deleted = np.array([one.deletion.random - one.deletion.area for one in tested])
    inserted = np.array([one.insertion.area - one.insertion.random for one in tested])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(tested), (_RESAMPLES, len(tested)))
    bounds = [np.quantile(each[drawn].mean(1), (0.025, 0.975)) for each in (deleted, inserted)]
    (deletion_low, deletion_high), (insertion_low, insertion_high) = bounds
    return Gain(
        pictures=len(tested),
        deletion=_rounded(deleted.mean()),
        deletion_low=_rounded(deletion_low),
        deletion_high=_rounded(deletion_high),
        insertion=_rounded(inserted.mean()),
        insertion_low=_rounded(insertion_low),
        insertion_high=_rounded(insertion_high),
    )


def mean_coloured(image: Tensor) -> Tensor:
    """Return a picture (3, H, W) of the mean colour of another, uint8."""
    mean = image.float().mean((1, 2), keepdim=True).round()
    return mean.to(torch.uint8).expand_as(image)


def blurred(image: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return a uint8 picture (3, H, W) under a Gaussian as wide (sigma) as a cell of the grid.

    Beyond the rim the picture is mirrored at it.
    """
    lines = image.float()[None]
    for axis, count in ((2, grid[0]), (3, grid[1])):
        lines = _blurred_along(lines, axis, image.shape[axis - 1] / count)
    return lines[0].round().clamp(0, 255).to(torch.uint8)


def _blurred_along(picture: Tensor, axis: int, sigma: float) -> Tensor:
    length = picture.shape[axis]
    reach = min(round(_REACH * sigma), length - 1)
    offset = torch.arange(-reach, reach + 1, device=picture.device)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1))
    pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    padded = F.pad(picture, pad, mode="reflect")
    return F.conv2d(padded, kernel.expand(3, *kernel.shape[1:]), groups=3)


def _steps(before: Tensor, after: Tensor, place: Tensor, counts: Sequence[int]) -> Iterator[Tensor]:
    """Yield batches of the picture on its way, the first `count` cells changed."""
    size = before.shape[1:]
    for start in range(0, len(counts), _TOGETHER):
        part = torch.tensor(counts[start : start + _TOGETHER], device=before.device)
        changed = (place < part[:, None, None])[:, None].float()
        changed = F.interpolate(changed, size=size, mode="nearest-exact").bool()
        yield torch.where(changed, after, before)


def _curve(areas: Sequence[float]) -> Curve:
    own, others = areas[0], np.array(areas[1:])
    low, high = np.quantile(others, (0.025, 0.975))
    return Curve(
        area=_rounded(own),
        random=_rounded(others.mean()),
        random_low=_rounded(low),
        random_high=_rounded(high),
    )


def _rounded(value: float) -> float:
    return round(float(value), 6)
