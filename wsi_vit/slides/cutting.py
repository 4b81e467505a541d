"""Wanted tiles read, encoded and counted, some at a time: called in threads."""

import math
from dataclasses import dataclass, field
from typing import Any

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
        for number in wanted:
            self.cut_one(number, chunk)
        return chunk

    def cut_one(self, number: int, chunk: Chunk) -> None:
        """Read and encode one tile and add it to a chunk."""
        seen = self.look(number, chunk.tally)
        if seen is None:
            return
        image, sharp = seen
        section = self.section
        stream = encode_jpeg(image, section.jpeg_quality, chroma=section.jpeg_chroma)
        chunk.tally.kept.append(self.plan.regions[number])
        chunk.pieces.append(self.row(number, stream, sharp))

    def look(self, number: int, tally: Tally) -> tuple[NDArray[np.uint8], float] | None:
        """Read one tile; return its pixels, RGBX, and their sharpness, None where it is not kept.

        Why it is not is counted.
        """
        region, side = self.plan.regions[number], self.section.grid.tile_px
        try:
            image = self.slide.read_rgbx(region, width_px=side, height_px=side)
        except SlideError as error:
            self.add_invalid(number, error, tally)
            return None
        if not self.is_tissue(number):
            tally.without_tissue += 1
            return None
        sharp = sharpness(image)
        if sharp < self.section.quality.min_sharpness:
            tally.blurred += 1
            return None
        return image, sharp

    def are_tissue(self, wanted: range) -> NDArray[np.bool_]:
        """Say which tiles show tissue enough; their overview may not have been readable."""
        shares = self.plan.tissue[wanted.start : wanted.stop]
        return (shares > 0) & (shares >= self.section.grid.min_tissue)

    def is_tissue(self, number: int) -> bool:
        """Say whether a tile shows tissue enough."""
        return bool(self.are_tissue(range(number, number + 1))[0])

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
        seen = {name: float(of[number]) for name, of in self.plan.measures.columns().items()}
        blur = None if math.isnan(seen["blur"]) else seen["blur"]
        return TileRow(
            image=stream,
            slide_id=self.slide_id,
            x=region.x,
            y=region.y,
            mpp=self.mpp,
            tissue=float(self.plan.tissue[number]),
            quality=sharp,
            **seen | {"blur": blur},
        )
