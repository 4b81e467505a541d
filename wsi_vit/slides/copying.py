"""Wanted tiles kept as the scanner wrote them: bytes from one file into another.

Every tile is searched for signs of damage. Those that show one, those whose header was not seen
before, and one in 256 are decoded at an eighth, which reads all of their compressed pixels; the
first that fails makes the whole slide be copied anew with every tile decoded so. What does not
decode goes the way of all other tiles, through `Cutter.cut_one`, which tells what it is.

Measured on real tissue with 512 bytes of a tile replaced (of 180 tiles each): zeros and cut ends
are found by their signs in all, random bytes in 89 %; bytes of another JPEG in 1 %, and by decoding
in 90 %; OpenSlide itself notices 48, 92 and 27 % of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import SlideError
from wsi_vit.slides.cutting import Chunk, Cutter, Tally
from wsi_vit.slides.jpeg.damage import doubtful
from wsi_vit.slides.jpeg.level import StoredLevel
from wsi_vit.slides.jpeg.pixels import decode_strictly
from wsi_vit.slides.jpeg.stream import Opening, StreamError
from wsi_vit.slides.quality.sharpness import sharpness
from wsi_vit.slides.read_path import own_tiles
from wsi_vit.slides.shard import PackedRows

_SAMPLED = 256
"""One in so many tiles is decoded although nothing speaks against it."""
_PROOF_FACTOR = 8


class DamageFoundError(Exception):
    """A stored tile is damaged: those that look well must be proved as well."""


@dataclass(slots=True, eq=False)
class _Streams:
    """Some tiles as JPEG that stands alone, one after the other in one piece of memory."""

    data: bytes
    openings: list[Opening | None]
    """How each begins; None where a tile cannot be kept, which is empty in `data`."""
    ends: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], self.ends[:-1]])

    def one(self, place: int) -> bytes:
        return self.data[int(self.starts[place]) : int(self.ends[place])]


@dataclass(frozen=True, slots=True, eq=False)
class Copier:
    """Copies the tiles of one slide whose grid is the slide's own tiling."""

    cutter: Cutter
    level: StoredLevel
    verify: Literal["sample", "every"]
    own: NDArray[np.int64]
    """Which stored tile each tile of the plan is, -1 where it leaves the slide."""
    proved: set[Opening] = field(default_factory=set)
    """Headers under which a tile was decoded."""

    def copy(self, wanted: range) -> Chunk:
        """Copy tiles of the plan, by their numbers.

        Raises:
            DamageFoundError: With `sample`, a tile does not decode.
            SlideError: For other reasons than unreadable pixels.
        """
        streams = self._streams(wanted)
        self._drop_damaged(wanted, streams)
        is_measured = self.cutter.section.quality.min_sharpness > 0
        if all(streams.openings) and not is_measured:
            return self._packed(wanted, streams)
        chunk = Chunk()
        for place, number in enumerate(wanted):
            if streams.openings[place] is None:
                self.cutter.cut_one(number, chunk)
            else:
                self._add(chunk, number, streams, place)
        if chunk.tally.invalid:
            self._notice()
        return chunk

    def _streams(self, wanted: range) -> _Streams:
        """Read the stored tiles."""
        parts: list[bytes | memoryview] = []
        openings: list[Opening | None] = []
        sizes: list[int] = []
        for raw in self._stored(wanted):
            opening = None if raw is None else self._opening(raw)
            openings.append(opening)
            if opening is None or raw is None:
                sizes.append(0)
                continue
            body = raw[len(opening.stored) :]
            parts += (opening.standalone, body)
            sizes.append(len(opening.standalone) + len(body))
        return _Streams(b"".join(parts), openings, np.cumsum(sizes, dtype=np.int64))

    def _stored(self, wanted: range) -> list[memoryview | None]:
        """Return the bytes of tiles as they lie in the slide; None where one is not to be kept."""
        tiles = self.cutter.slide.stored
        own = self.own[wanted.start : wanted.stop]
        kept = np.flatnonzero((own >= 0) & self.cutter.are_tissue(wanted))
        found: list[memoryview | None] = [None] * len(wanted)
        if tiles is not None and len(kept):
            for place, raw in zip(kept, tiles.raws(self.level, own[kept]), strict=True):
                found[place] = raw
        return found

    def _opening(self, raw: memoryview) -> Opening | None:
        """Return how a tile opens, None where it cannot be kept."""
        try:
            return self.level.opening(raw)
        except StreamError:
            self._notice()
            return None

    def _notice(self) -> None:
        if self.verify == "sample":
            raise DamageFoundError

    def _drop_damaged(self, wanted: range, streams: _Streams) -> None:
        """Prove those that need it, and take out those that fail."""
        for place in self._to_prove(wanted, streams):
            opening = streams.openings[place]
            try:
                self._decoded(streams, place, _PROOF_FACTOR)
                self.proved.update([opening] if opening else [])
            except SlideError:
                self._notice()
                streams.openings[place] = None

    def _to_prove(self, wanted: range, streams: _Streams) -> Iterator[int]:
        heads = [len(opening.standalone) if opening else 0 for opening in streams.openings]
        doubts = doubtful(streams.data, streams.starts + heads, streams.ends).tolist()
        fresh = set(streams.openings) - self.proved
        for place, opening in enumerate(streams.openings):
            if opening is None:
                continue
            is_sampled = self.verify == "every" or wanted[place] % _SAMPLED == 0
            if is_sampled or doubts[place] or opening in fresh:
                fresh.discard(opening)
                yield place

    def _decoded(self, streams: _Streams, place: int, factor: int) -> NDArray[np.uint8]:
        opening, name = streams.openings[place], self.cutter.slide.path.name
        assert opening is not None
        return decode_strictly(streams.one(place), opening, self.level, factor, name)

    def _packed(self, wanted: range, streams: _Streams) -> Chunk:
        """Return tiles that are all kept as one piece."""
        plan = self.cutter.plan
        span = slice(wanted.start, wanted.stop)
        regions = plan.regions[span]
        rows = PackedRows(
            images=streams.data,
            ends=streams.ends.astype(np.int32),
            slide_id=self.cutter.slide_id,
            x=np.array([region.x for region in regions]),
            y=np.array([region.y for region in regions]),
            mpp=self.cutter.mpp,
            tissue=plan.tissue[span].astype(np.float32),
            measures=plan.measures[span],
        )
        return Chunk([rows], Tally(kept=list(regions), copied=len(regions)))

    def _add(self, chunk: Chunk, number: int, streams: _Streams, place: int) -> None:
        """Add one tile as a row, unless it is measured and found blurred or damaged."""
        sharp, least = None, self.cutter.section.quality.min_sharpness
        if least > 0:
            try:
                sharp = sharpness(self._decoded(streams, place, 1))
            except SlideError as error:
                self.cutter.add_invalid(number, error, chunk.tally)
                return
            if sharp < least:
                chunk.tally.blurred += 1
                return
        chunk.pieces.append(self.cutter.row(number, streams.one(place), sharp))
        chunk.tally.kept.append(self.cutter.plan.regions[number])
        chunk.tally.copied += 1


def copier_of(cutter: Cutter, verify: Literal["sample", "every"]) -> Copier | None:
    """Return what copies a slide's tiles, None where the plan's path is another."""
    plan = cutter.plan
    level = cutter.slide.stored_levels[plan.path.level]
    if plan.path.kind != "copied" or level is None:
        return None
    return Copier(cutter, level, verify, own_tiles(plan.grid, plan.regions, level))
