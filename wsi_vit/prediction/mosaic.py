"""The classes of pictures of any size: whole, or by tiles whose scores blend into each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wsi_vit.prediction.applied import AppliedModel, Pixels
from wsi_vit.prediction.drawing import Ids
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.stitch import BandBlender, Stripe, cut_stripes

_UNIT_PX = 256
"""Stripes of a wide picture end on its multiples."""


def is_large(shape: tuple[int, ...], applied: AppliedModel, section: PredictionSection) -> bool:
    """Say whether a picture of this (height, width, ...) is segmented by tiles."""
    if applied.model.task != "segmentation":
        return False
    return max(shape[:2]) > section.tile_from * section.tile_side_px(applied.model.input_px)


def whole_pictures(
    images: Sequence[Pixels], applied: AppliedModel, section: PredictionSection
) -> list[Ids]:
    """Return the training ids (H, W) of pictures of one size, which go through together.

    The model brings them to its input, and its scores back to their size.
    """
    return list(applied.class_ids(images, average=section.average))


def tiled_picture(image: Pixels, applied: AppliedModel, section: PredictionSection) -> Ids:
    """Return the training ids (H, W) of a picture of any size, by tiles of its own pixels.

    Tiles are spread evenly from edge to edge, so nothing is made up but where the picture is
    narrower than a tile: there it is mirrored, as context for the model alone. Scores are held for
    one row of tiles and one stripe at a time; only the ids grow with the picture.
    """
    ids = np.empty(image.shape[:2], np.uint8)
    side, classes = section.tile_side_px(applied.model.input_px), len(applied.model.labels)
    column_bytes = 4 * (classes + 1) * 3 * side  # sums, the band that leaves, and what it is from
    stripes = cut_stripes(
        image.shape[1], column_bytes=column_bytes, memory_mb=section.memory_mb, unit_px=_UNIT_PX
    )
    for stripe in stripes:
        _Mosaic(image, applied, section, stripe).fill(ids[:, stripe.left : stripe.right])
    return ids


def tile_starts(length: int, side: int, overlap: float) -> list[int]:
    """Return where tiles of a side begin on a line, evenly spread from its one end to the other.

    Neighbours have at least `overlap` of a side in common. A line shorter than a tile has one.
    """
    most = max(1, int(side * (1 - overlap)))
    steps = max(0, -(-(length - side) // most))
    if steps == 0:
        return [0]
    return [(index * (length - side) + steps // 2) // steps for index in range(steps + 1)]


@dataclass(frozen=True, slots=True)
class _Mosaic:
    """One stripe of a picture being filled."""

    image: Pixels
    applied: AppliedModel
    section: PredictionSection
    stripe: Stripe

    @property
    def side_px(self) -> int:
        """Side of a tile."""
        return self.section.tile_side_px(self.applied.model.input_px)

    def fill(self, ids: Ids) -> None:
        """Write the stripe's training ids, shape (height, right - left)."""
        side, width = self.side_px, self.stripe.right - self.stripe.left
        blender = BandBlender(classes=len(self.applied.model.labels), width_px=width, tile_px=side)
        tops = tile_starts(self.image.shape[0], side, self.section.overlap)
        for top, following in pairwise([*tops, tops[-1] + side]):
            for batch in self._batches():
                tiles = [self._cut(top, left) for left in batch]
                scores = self.applied.scores(tiles, average=self.section.average)
                for left, tile in zip(batch, scores, strict=True):
                    blender.add(tile, left=left - self.stripe.left)
            band = blender.advance(following - top).scores.argmax(axis=0)
            ids[top:following] = band[: len(ids) - top]

    def _batches(self) -> Iterator[list[int]]:
        """Yield the left edges of the tiles that touch the stripe, as many as go at once."""
        side, size = self.side_px, self.section.batch_size
        lefts = [
            left
            for left in tile_starts(self.image.shape[1], side, self.section.overlap)
            if left < self.stripe.right and left + side > self.stripe.left
        ]
        for start in range(0, len(lefts), size):
            yield lefts[start : start + size]

    def _cut(self, top: int, left: int) -> Pixels:
        side = self.side_px
        tile = self.image[top : top + side, left : left + side]
        missing = [(0, side - length) for length in tile.shape[:2]]
        return np.pad(tile, [*missing, (0, 0)], mode="symmetric")
