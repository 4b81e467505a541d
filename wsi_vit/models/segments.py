"""The true masks that a mask classifier learns from, made from class ids at loss time.

Semantic: each class that an image holds is one mask. Instances: each connected piece of a class is
one, so that several people are several masks; the label map's background stays whole. Either way
a pixel's scores are the same sum over queries, so instances help to find many small things without
changing what a model says.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.sections import Targets

IGNORED = -1
"""The segment number of a pixel that nobody knows."""

SMALLEST_PX = 12
"""A piece of fewer pixels, at the size the network works on, is a crumb, not a thing."""

_EIGHT = np.ones((3, 3), np.uint8)
"""Pixels that touch by a corner are connected."""


class Segments(NamedTuple):
    """The true masks of a batch."""

    maps: Tensor
    """int64 (B, H, W): the number of the mask a pixel lies in, from 0 in each image; or -1."""
    classes: list[list[int]]
    """For each image the class of each mask."""


def segments_of(
    ids: Tensor, targets: Targets, *, classes: int, background: int | None = None
) -> Segments:
    """Return the masks of a batch.

    Args:
        ids: True training ids, int64 (B, H, W); 255 is ignored.
        targets: What is one mask.
        classes: How many classes there are.
        background: The class that stays one mask among instances.
    """
    if targets == "semantic":
        return _semantic(ids, classes)
    found = [_instances(image, background) for image in ids.to(torch.uint8).cpu().numpy()]
    maps = torch.from_numpy(np.stack([numbers for numbers, _ in found]))
    return Segments(maps.to(ids.device), [labels for _, labels in found])


def _semantic(ids: Tensor, classes: int) -> Segments:
    """Number the classes that are seen in each image, with one transfer from the device."""
    seen = torch.zeros((len(ids), IGNORE_ID + 1), dtype=torch.int64, device=ids.device)
    seen.scatter_(1, ids.flatten(1), 1)
    seen[:, classes:] = 0
    numbers = torch.where(seen > 0, seen.cumsum(1) - 1, IGNORED)
    maps = numbers.gather(1, ids.flatten(1)).view_as(ids)
    rows = seen[:, :classes].cpu().tolist()
    return Segments(maps, [[label for label, there in enumerate(row) if there] for row in rows])


def _instances(
    ids: NDArray[np.uint8], background: int | None
) -> tuple[NDArray[np.int64], list[int]]:
    """Number the connected pieces of an image's classes (H, W), and tell the class of each."""
    maps = np.full(ids.shape, IGNORED, np.int64)
    labels: list[int] = []
    for label in np.unique(ids[ids != IGNORE_ID]).tolist():
        inside = ids == label
        pieces = inside.astype(np.int64) if label == background else _pieces(inside)
        maps[inside] = pieces[inside] + len(labels) - 1
        labels += [label] * int(pieces.max())
    return maps, labels


def _pieces(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the pieces of a mask from 1; crumbs join the nearest piece, or each other."""
    from scipy import ndimage

    pieces = np.zeros(inside.shape, np.int32)
    ndimage.label(inside, _EIGHT, output=pieces)
    large = np.bincount(pieces.ravel()) >= SMALLEST_PX
    large[0] = False
    if not large.any():
        return inside.astype(np.int64)
    numbers = np.where(large, large.cumsum(), 0)[pieces]
    crumbs = inside & (numbers == 0)
    if crumbs.any():
        nearest = np.zeros((2, *inside.shape), np.int32)
        ndimage.distance_transform_edt(
            numbers == 0, return_distances=False, return_indices=True, indices=nearest
        )
        numbers[crumbs] = numbers[tuple(nearest[:, crumbs])]
    return numbers
