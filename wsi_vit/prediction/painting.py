"""From tiles to the finished map: scores, blended band by band, masked by tissue, on disk."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.labels import IGNORE_ID
from wsi_vit.prediction.applied import AppliedModel
from wsi_vit.prediction.canvas import SHARD_PX, Plan, PlannedTile, stripes
from wsi_vit.prediction.ome_zarr import ClassMap
from wsi_vit.prediction.reading import ReadTile, read_ahead
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.stitch import Band, BandBlender, Stripe, blended
from wsi_vit.prediction.table import NO_TISSUE, UNREADABLE, TileRecord
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.stain.mapping import StainMap
from wsi_vit.slides.tiles import Progress


@dataclass(slots=True)
class Tally:
    """What was found while painting."""

    areas_px: NDArray[np.float64]
    """Area of each class in map pixels, parts of pixels counted at the plane's edge."""
    records: dict[int, TileRecord] = field(default_factory=dict)
    """By the tile's number."""


class TileJudge:
    """Asks a model about the planned tiles of a slide."""

    def __init__(
        self,
        slide: Slide,
        plan: Plan,
        *,
        applied: AppliedModel,
        section: PredictionSection,
        stain: StainMap | None = None,
    ) -> None:
        self._stain = stain
        self._slide, self._plan, self._applied = slide, plan, applied
        self._section = section
        self._classes = len(applied.model.labels)

    def judge(self, progress: Progress | None = None) -> list[TileRecord]:
        """Return what the model says of every planned tile, in their order.

        Raises:
            SlideError: The slide cannot be read any more.
            ModelError: The scores cannot be used.
        """
        tally = Tally(np.zeros(self._classes))
        told = _Told(tally, progress or _silent, len(self._plan.tiles))
        # Closed before the slide is, come what may: a thread that still reads would crash.
        with closing(self._read(self._plan.tiles)) as read:
            return [record for record, _ in told.passing(self._scored(read))]

    def _read(self, tiles: Sequence[PlannedTile]) -> Generator[ReadTile]:
        return read_ahead(
            self._slide,
            tiles,
            tile_px=self._applied.tiling().grid.tile_px,
            ahead=2 * self._section.batch_size,
            stain=self._stain,
        )

    def _scored(self, read: Iterator[ReadTile]) -> Iterator[tuple[TileRecord, Any]]:
        """Yield each tile's record and its scores (classes, patch, patch), in order."""
        while batch := list(islice(read, self._section.batch_size)):
            images = [t.image for t in batch if t.image is not None and t.planned.tissue > 0]
            judged = iter(self._asked(images))
            for tile in batch:
                reason = _why_not(tile)
                if reason:
                    yield TileRecord(tile.planned, None, reason), None
                else:
                    yield self._record(tile, *next(judged))

    def _asked(
        self, images: Sequence[NDArray[np.uint8]]
    ) -> Iterable[tuple[NDArray[np.float32], float | None]]:
        """Return the scores of each image, and how unlike the training it is."""
        if not images:
            return ()
        scores, anomaly = self._applied.judged(images, average=self._section.average)
        unlike = [None] * len(images) if anomaly is None else anomaly.tolist()
        return zip(scores, unlike, strict=True)

    def _record(
        self, tile: ReadTile, scores: NDArray[np.float32], unlike: float | None
    ) -> tuple[TileRecord, Any]:
        dense = scores.reshape(self._classes, self._plan.canvas.patch_px, -1)
        return TileRecord(tile.planned, dense.mean(axis=(1, 2)), anomaly=unlike), dense


class Painter(TileJudge):
    """Fills a class map."""

    def __init__(
        self,
        slide: Slide,
        plan: Plan,
        *,
        applied: AppliedModel,
        target: ClassMap,
        section: PredictionSection,
        stain: StainMap | None = None,
    ) -> None:
        super().__init__(slide, plan, applied=applied, section=section, stain=stain)
        self._target = target

    def paint(self, progress: Progress | None = None) -> Tally:
        """Predict every planned tile and write the map's finest level.

        Raises:
            SlideError: The slide cannot be read any more.
            ModelError: The scores cannot be used.
        """
        tally = Tally(np.zeros(self._classes))
        parts = list(
            stripes(self._plan.canvas, classes=self._classes, memory_mb=self._section.memory_mb)
        )
        tiles = [self._plan.tiles_of(stripe) for stripe in parts]
        told = _Told(tally, progress or _silent, sum(map(len, tiles)))
        for stripe, mine in zip(parts, tiles, strict=True):
            # Closed before the slide is, come what may: a thread that still reads would crash.
            with closing(self._read(mine)) as read:
                self._stitch(stripe, told.passing(self._scored(read)), tally)
        return tally

    def _stitch(
        self, stripe: Stripe, scored: Iterable[tuple[TileRecord, Any]], tally: Tally
    ) -> None:
        """Blend a stripe's tiles and hand finished rows on."""
        canvas = self._plan.canvas
        sink = _Sink(self._plan, stripe, self._target, tally.areas_px)
        blender = BandBlender(
            classes=self._classes,
            width_px=stripe.right - stripe.left,
            tile_px=canvas.patch_px,
        )
        tiles = (
            (one.planned.row, one.planned.column * canvas.stride_px - stripe.left, scores)
            for one, scores in scored
        )
        for band in blended(tiles, blender, stride_px=canvas.stride_px):
            sink.take(band)
        sink.close()


@dataclass(slots=True)
class _Told:
    """Notes what is known of each tile on its way, and tells how far the work is."""

    tally: Tally
    progress: Progress
    total: int
    done: int = 0

    def passing(self, scored: Iterable[tuple[TileRecord, Any]]) -> Iterator[tuple[TileRecord, Any]]:
        """Yield what comes in."""
        for record, scores in scored:
            yield record, scores
            self.tally.records.setdefault(record.planned.number, record)
            self.done += 1
            self.progress(self.done, self.total)


def _silent(_done: int, _total: int) -> None:
    """Report no progress."""


def _why_not(tile: ReadTile) -> str | None:
    if tile.image is None:
        return UNREADABLE
    return None if tile.planned.tissue > 0 else NO_TISSUE


class _Sink:
    """Takes finished rows of a stripe from the top down and writes them, shard by shard."""

    def __init__(
        self, plan: Plan, stripe: Stripe, target: ClassMap, areas_px: NDArray[np.float64]
    ) -> None:
        self._plan, self._stripe, self._target, self._areas = plan, stripe, target, areas_px
        width = stripe.right - stripe.left
        self._classes = np.full((SHARD_PX, width), IGNORE_ID, np.uint8)
        self._probabilities = np.zeros((len(areas_px), SHARD_PX, width), np.uint8)
        self._row = 0

    def take(self, band: Band) -> None:
        """Add rows; those below the map's last are what tiles stuck out with, and are dropped."""
        rows = min(band.is_covered.shape[0], self._plan.canvas.height_px - self._row)
        done = 0
        while done < rows:
            room = SHARD_PX - self._row % SHARD_PX
            part = slice(done, min(done + room, rows))
            self._put(band.scores[:, part], band.is_covered[part])
            done = part.stop

    def close(self) -> None:
        """Write the rows of the last, unfilled shards."""
        if self._row % SHARD_PX:
            self._flush(self._row % SHARD_PX)

    def _put(self, scores: NDArray[np.float32], is_covered: NDArray[np.bool_]) -> None:
        rows = is_covered.shape[0]
        start = self._row % SHARD_PX
        here = slice(start, start + rows)
        shown = is_covered & self._tissue(rows)
        classes = np.where(shown, scores.argmax(axis=0), IGNORE_ID).astype(np.uint8)
        self._classes[here] = classes
        self._probabilities[:, here] = np.rint(scores * 255) * shown
        self._count(classes)
        self._row += rows
        if self._row % SHARD_PX == 0:
            self._flush(SHARD_PX)

    def _tissue(self, rows: int) -> NDArray[np.bool_] | bool:
        """Return where there is tissue; a tile of one class was chosen for it as a whole."""
        canvas, mask = self._plan.canvas, self._plan.mask
        if canvas.patch_px == 1:
            return True
        down = self._row + np.arange(rows)
        across = np.arange(self._stripe.left, self._stripe.right)
        cells = [
            np.minimum(
                ((at + 0.5) * canvas.step / mask.base_px_per_cell).astype(np.int64), most - 1
            )
            for at, most in zip((down, across), mask.is_tissue.shape, strict=True)
        ]
        return mask.is_tissue[np.ix_(*cells)]

    def _count(self, classes: NDArray[np.uint8]) -> None:
        """Add up areas; only the last row and column can lie partly beyond the plane."""
        last_row = float(self._plan.canvas.shares(self._row + len(classes) - 1, 1, axis=1)[0])
        self._areas += self._on_plane(classes) - (1 - last_row) * self._on_plane(classes[-1:])

    def _on_plane(self, classes: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Count the pixels of each class; those of the last column by their share on the plane."""
        right, known = self._stripe.right - 1, len(self._areas)
        last_column = float(self._plan.canvas.shares(right, 1, axis=0)[0])
        beyond = (1 - last_column) * np.bincount(classes[:, -1], minlength=256)
        return (np.bincount(classes.ravel(), minlength=256) - beyond)[:known]

    def _flush(self, rows: int) -> None:
        top = (self._row - 1) // SHARD_PX * SHARD_PX
        classes, probabilities = self._classes[:rows], self._probabilities[:, :rows]
        if (classes != IGNORE_ID).any():  # an empty shard is not stored: it reads as its fill
            self._target.write(classes, probabilities, top=top, left=self._stripe.left)
