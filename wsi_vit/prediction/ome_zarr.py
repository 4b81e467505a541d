"""The class map on disk: an OME-Zarr pyramid, written shard by shard by one writer.

zarr loses data when two writers share a shard, so every call writes whole shards, one after the
other. Only a band of the map is ever in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.prediction.canvas import SHARD_PX, Canvas
from wsi_vit.prediction.ngff import (
    classes_attributes,
    image_attributes,
    labels_attributes,
    level_shapes,
)

_CHUNK_PX = 256
_CLASSES = "labels/classes"
_ALL = slice(None), slice(None)

Area = tuple[slice, slice]
"""Rows and columns of a level."""

Classes = NDArray[np.uint8]
"""Training ids, shape (rows, columns); 255 where nothing was computed."""
Probabilities = NDArray[np.uint8]
"""Shape (classes, rows, columns): probability times 255; all 0 where nothing was computed."""


@dataclass(frozen=True, slots=True)
class Level:
    """The classes of one level of the map, read whole."""

    classes: Classes
    step: float
    """Base pixels a side of its pixels."""
    number: int
    """0 is the finest."""


class ClassMap:
    """The classes (export ids on disk, training ids here) and probabilities of a slide."""

    def __init__(self, folder: Path, canvas: Canvas, labels: LabelMap) -> None:
        self.folder, self.canvas, self.labels = folder, canvas, labels
        self.shapes = level_shapes(canvas)

    def create(self) -> None:
        """Write the empty arrays and the metadata of all levels."""
        import zarr

        canvas, labels, count = self.canvas, self.labels, len(self.shapes)
        root = zarr.create_group(
            self.folder, attributes=image_attributes(canvas, labels, count), overwrite=True
        )
        group = root.create_group("labels", attributes=labels_attributes())
        classes = group.create_group(
            "classes", attributes=classes_attributes(canvas, labels, count)
        )
        for level, shape in enumerate(self.shapes):
            _add(root, level, (len(labels), *shape), fill=0)
            _add(classes, level, shape, fill=IGNORE_ID)

    def write(self, classes: Classes, probabilities: Probabilities, *, top: int, left: int) -> None:
        """Write a block of the finest level, whole shards: its corner lies on a shard's corner."""
        self._write(0, classes, probabilities, (top, left))

    def build_pyramid(self) -> None:
        """Make each coarser level from the one below it, shard by shard."""
        for level in range(1, len(self.shapes)):
            for top, left in _blocks(self.shapes[level]):
                area = slice(2 * top, 2 * (top + SHARD_PX)), slice(2 * left, 2 * (left + SHARD_PX))
                classes = self._classes(level - 1, area)
                probabilities = np.asarray(self._open(str(level - 1), "r")[(slice(None), *area)])
                halved = halve_probabilities(probabilities, classes != IGNORE_ID)
                self._write(level, halve_classes(classes), halved, (top, left))

    def read(self, *, most_px: int) -> Level:
        """Return the finest level of at most this many pixels, whole (else the coarsest)."""
        fits = [i for i, (rows, columns) in enumerate(self.shapes) if rows * columns <= most_px]
        level = fits[0] if fits else len(self.shapes) - 1
        return Level(self._classes(level), self.canvas.step * 2**level, level)

    def read_probability(self, level: Level, class_id: int) -> NDArray[np.uint8]:
        """Return the probability of a class, times 255, shape (rows, columns)."""
        return np.asarray(self._open(str(level.number), "r")[class_id])

    def read_certainty(self, level: Level) -> NDArray[np.uint8]:
        """Return the highest probability of any class, times 255, shape (rows, columns)."""
        highest = self.read_probability(level, 0)
        for class_id in range(1, len(self.labels)):
            highest = np.maximum(highest, self.read_probability(level, class_id))
        return highest

    def _classes(self, level: int, area: Area = _ALL) -> Classes:
        back = np.full(256, IGNORE_ID, np.uint8)
        back[list(self.labels.export_ids)] = np.arange(len(self.labels), dtype=np.uint8)
        return back[np.asarray(self._open(f"{_CLASSES}/{level}", "r")[area])]

    def _open(self, path: str, mode: Literal["r", "r+"]) -> Any:
        import zarr

        return zarr.open_array(self.folder / path, mode=mode)

    def _write(
        self, level: int, classes: Classes, probabilities: Probabilities, corner: tuple[int, int]
    ) -> None:
        rows, columns = classes.shape
        area = slice(corner[0], corner[0] + rows), slice(corner[1], corner[1] + columns)
        if any(side.start % SHARD_PX for side in area):
            raise ValueError(f"a block at {corner} would share a shard with another")
        self._open(f"{_CLASSES}/{level}", "r+")[area] = self.labels.export(classes)
        self._open(str(level), "r+")[(slice(None), *area)] = probabilities


def halve_classes(classes: Classes) -> Classes:
    """Return a level of half the size: the most frequent id of 2 x 2, the lower one on a tie.

    255 (not computed) is the highest id, so it needs three of four, or all that there are.
    """
    four = _quads(classes, IGNORE_ID)
    votes = np.stack([(four == one).sum(axis=0, dtype=np.uint8) for one in four])
    # Lower ids win ties: of the ids with the most votes, take the least.
    return np.where(votes == votes.max(axis=0), four, IGNORE_ID).min(axis=0)


def halve_probabilities(
    probabilities: Probabilities, is_computed: NDArray[np.bool_]
) -> Probabilities:
    """Return a level of half the size: the mean over the computed pixels of 2 x 2, rounded."""
    count = _quads(is_computed.astype(np.uint8), 0).sum(axis=0, dtype=np.uint16)
    known = np.maximum(count, 1)
    halves = [
        (_quads(plane, 0).sum(axis=0, dtype=np.uint16) + known // 2) // known
        for plane in probabilities
    ]
    return (np.stack(halves) * (count > 0)).astype(np.uint8)


def _quads(plane: NDArray[np.uint8], fill: int) -> NDArray[np.uint8]:
    """Return the four pixels of each 2 x 2 block, (4, rows / 2, columns / 2); odd ends filled."""
    rows, columns = plane.shape
    even = np.pad(plane, ((0, rows % 2), (0, columns % 2)), constant_values=fill)
    return np.stack([even[i::2, j::2] for i in (0, 1) for j in (0, 1)])


def _blocks(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    for top in range(0, shape[0], SHARD_PX):
        for left in range(0, shape[1], SHARD_PX):
            yield top, left


def _add(group: Any, level: int, shape: tuple[int, ...], *, fill: int) -> None:
    """Add an array of bytes; small maps get one chunk, large ones 16 chunks a shard."""
    from zarr.codecs import ZstdCodec

    rows, columns = shape[-2:]
    small = max(rows, columns) <= _CHUNK_PX
    lead = (1,) if len(shape) == 3 else ()
    group.create_array(
        str(level),
        shape=shape,
        dtype="uint8",
        chunks=(*lead, *((rows, columns) if small else (_CHUNK_PX, _CHUNK_PX))),
        shards=None if small else (*lead, SHARD_PX, SHARD_PX),
        compressors=ZstdCodec(level=3),
        fill_value=fill,
        dimension_names=("c", "y", "x") if lead else ("y", "x"),
    )
