"""One level of a slide as JPEG tiles in a file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.jpeg.stream import Colour, Opening, spoken_colour, standing_alone

_MOST_OPENINGS = 64
"""Headers remembered a level; scanners write one."""


@dataclass(frozen=True, eq=False)
class StoredLevel:
    """One level whose tiles are baseline JPEG, in one file."""

    path: Path
    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: NDArray[np.int64]
    """Of each tile in the file, row-major."""
    counts: NDArray[np.int64]
    """Bytes of each tile; 0 where it is not stored."""
    tables: bytes
    colour: Colour
    """What the file says its tiles' components are."""
    colour_from: Literal["tag", "markers"] = "tag"
    """Whose word counts where they differ: the file's, as libtiff does, or each tile's own."""
    is_recoloured: bool = False
    """Whether the tiles' own word differs from the file's, and counts."""

    @cached_property
    def columns(self) -> int:
        """Tiles side by side."""
        return -(-self.width // self.tile_width)

    @cached_property
    def openings(self) -> dict[bytes, Opening]:
        """Headers seen so far."""
        return {}

    @property
    def only(self) -> Opening | None:
        """How all tiles opened that were looked at, None where they differ or none was."""
        seen = list(self.openings.values())
        return seen[0] if len(seen) == 1 else None

    def opening(self, stored: bytes | memoryview) -> Opening:
        """Return how a tile opens and must open.

        Raises:
            StreamError: It is no JPEG that can be kept as it is.
        """
        for known in list(self.openings.values()):  # other threads may add to them
            if bytes(stored[: len(known.stored)]) == known.stored:
                return known
        stored = bytes(stored)
        size = self.tile_width, self.tile_height
        spoken = spoken_colour(stored) if self.colour_from == "markers" else None
        found = standing_alone(stored, self.tables, colour=spoken or self.colour, size=size)
        if len(self.openings) < _MOST_OPENINGS:
            self.openings[found.stored] = found
        return found
