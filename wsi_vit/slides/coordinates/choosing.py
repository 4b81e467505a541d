"""Which wanted tiles a shard of coordinates keeps: as few as possible are read for it.

A tile is read where only that tells what it is: where sharpness decides, where its overview could
not be read, and one in 256 as a proof that the slide can be read. The first that cannot be read
makes the whole slide be proved, tile by tile: a tile is listed only if nothing speaks against it.
"""

from dataclasses import dataclass
from typing import Literal

from wsi_vit.slides.copying import DamageFoundError
from wsi_vit.slides.cutting import Chunk, Cutter
from wsi_vit.slides.shard import Cut

_SAMPLED = 16


@dataclass(frozen=True, slots=True, eq=False)
class Chooser:
    """Chooses the tiles of one slide."""

    cutter: Cutter
    verify: Literal["sample", "every"]

    @property
    def cut(self) -> Cut:
        """How the tiles are cut when they are wanted."""
        grid, path = self.cutter.plan.grid, self.cutter.plan.path
        return Cut(side=grid.side, tile_px=grid.tile_px, level=path.level)

    def choose(self, wanted: range) -> Chunk:
        """List tiles of the plan, by their numbers, without their pictures.

        Raises:
            DamageFoundError: With `sample`, a tile cannot be read.
            SlideError: For other reasons than unreadable pixels.
        """
        chunk = Chunk()
        for number in wanted:
            sharp = None
            if self._must_read(number):
                seen = self.cutter.look(range(number, number + 1), chunk.tally)
                if chunk.tally.invalid and self.verify == "sample":
                    raise DamageFoundError
                if not seen:
                    continue
                sharp = seen[0].sharpness if self._is_measured else None
            chunk.tally.kept.append(self.cutter.plan.regions[number])
            chunk.pieces.append(self.cutter.row(number, b"", sharp))
        return chunk

    @property
    def _is_measured(self) -> bool:
        return self.cutter.section.quality.min_sharpness > 0

    def _must_read(self, number: int) -> bool:
        is_proof = self.verify == "every" or number % _SAMPLED == 0
        return is_proof or self._is_measured or not self.cutter.is_tissue(number)
