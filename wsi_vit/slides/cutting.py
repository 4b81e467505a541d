"""Wanted tiles read, encoded and counted, some at a time: called in threads."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.slides.jpeg.encoding import encode_jpeg
from wsi_vit.slides.quality.sharpness import sharpness
from wsi_vit.slides.shard import PackedRows, TileRow
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.tiles import TilePlan, TilesSection


@dataclass(slots=True)
class Tally:
    """What became of wanted tiles."""

    kept: list[Region] = field(default_factory=list)
    copied: int = 0
    """Of those kept, how many hold the scanner's own bytes."""
    blurred: int = 0
    """Less sharp than asked."""
    without_tissue: int = 0
    """Readable, but its overview was not, and what was read of that shows too little tissue."""
    invalid: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count further tiles."""
        self.kept += other.kept
        self.copied += other.copied
        self.blurred += other.blurred
        self.without_tissue += other.without_tissue
        self.invalid += other.invalid


@dataclass(slots=True)
class Chunk:
    """Some wanted tiles, done: what is written of them, in order, and what became of them."""

    pieces: list[TileRow | PackedRows] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


class Seen(NamedTuple):
    """A tile that was read."""

    number: int
    image: NDArray[np.uint8]
    """RGBX."""
    sharpness: float


_TOGETHER_PX = 1 << 18
"""Pixels of tiles that are read before their sharpness is measured: they stay in the cache."""


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts the tiles of one slide."""

    slide: Slide
    slide_id: str
    section: TilesSection
    plan: TilePlan

    @property
    def mpp(self) -> float:
        """Micrometres per pixel that the tiles get."""
        return float(self.slide.mpp) * self.plan.grid.side / self.plan.grid.tile_px

    def cut(self, wanted: range) -> Chunk:
        """Read and encode tiles of the plan, by their numbers."""
        chunk = Chunk()
        together = max(1, _TOGETHER_PX // self.section.grid.tile_px**2)
        for first in range(wanted.start, wanted.stop, together):
            self.cut_into(chunk, range(first, min(first + together, wanted.stop)))
        return chunk

    def cut_into(self, chunk: Chunk, wanted: range) -> None:
        """Read and encode a few tiles and add them to a chunk."""
        section = self.section
        for number, image, sharp in self.look(wanted, chunk.tally):
            stream = encode_jpeg(image, section.jpeg_quality, chroma=section.jpeg_chroma)
            chunk.tally.kept.append(self.plan.regions[number])
            chunk.pieces.append(self.row(number, stream, sharp))

    def look(self, wanted: range, tally: Tally) -> list[Seen]:
        """Read a few tiles; return those that are kept. Why others are not is counted."""
        images: dict[int, NDArray[np.uint8]] = {}
        for number in wanted:
            image = self._read(number, tally)
            if image is not None and self._shows_tissue(number, tally):
                images[number] = image
        if not images:
            return []
        sharp = sharpness(list(images.values()))
        seen = [Seen(*one) for one in zip(images, images.values(), sharp, strict=True)]
        kept = [one for one in seen if one.sharpness >= self.section.quality.min_sharpness]
        tally.blurred += len(seen) - len(kept)
        return kept

    def _read(self, number: int, tally: Tally) -> NDArray[np.uint8] | None:
        region, side = self.plan.regions[number], self.section.grid.tile_px
        try:
            return self.slide.read_rgbx(region, width_px=side, height_px=side)
        except SlideError as error:
            self.add_invalid(number, error, tally)
            return None

    def _shows_tissue(self, number: int, tally: Tally) -> bool:
        is_tissue = self.is_tissue(number)
        tally.without_tissue += not is_tissue
        return is_tissue

    def are_tissue(self, wanted: range) -> NDArray[np.bool_]:
        """Say which tiles show tissue enough; their overview may not have been readable."""
        shares = self.plan.tissue[wanted.start : wanted.stop]
        return (shares > 0) & (shares >= self.section.grid.min_tissue)

    def is_tissue(self, number: int) -> bool:
        """Say whether a tile shows tissue enough."""
        share = self.plan.tissue[number]
        return bool(share > 0 and share >= self.section.grid.min_tissue)

    def add_invalid(self, number: int, error: SlideError, tally: Tally) -> None:
        """Count a tile that cannot be read.

        Raises:
            SlideError: It is an error of another kind.
        """
        if error.reason is not Reason.UNREADABLE_TILES:
            raise error
        region = self.plan.regions[number]
        tally.invalid.append({"x": region.x, "y": region.y, "reason": str(error.reason)})

    def row(self, number: int, stream: bytes, sharp: float | None) -> TileRow:
        """Return one tile as a row."""
        region = self.plan.regions[number]
        measures = self.plan.measures
        blur = float(measures.blur[number])
        return TileRow(
            image=stream,
            slide_id=self.slide_id,
            x=region.x,
            y=region.y,
            mpp=self.mpp,
            tissue=float(self.plan.tissue[number]),
            quality=sharp,
            blur=None if math.isnan(blur) else blur,
            pen=float(measures.pen[number]),
            dark=float(measures.dark[number]),
            glass=float(measures.glass[number]),
        )
