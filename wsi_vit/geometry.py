"""The one frame of the project: base pixels of the full level-0 plane.

x grows right, y grows down, the origin is the plane's top left (OpenSlide's frame). Positions are
float64: a downsample of 15.998 is not 15, so nothing is rounded before pixels are touched.
Resolution is micrometres per pixel (mpp), never a magnification.
"""

from dataclasses import dataclass
from typing import NewType

BasePixels = NewType("BasePixels", float)
"""A length or position in level-0 pixels."""

Microns = NewType("Microns", float)
"""A length on the glass, in micrometres."""

Mpp = NewType("Mpp", float)
"""A resolution, in micrometres per pixel."""


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle on the slide, in base pixels; x grows right, y grows down."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of the first base pixel beyond the region."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of the first base pixel beyond the region."""
        return self.y + self.height

    def intersects(self, other: "Region") -> bool:
        """Whether the two share more than an edge."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.bottom
            and other.y < self.bottom
        )

    def padded(self, margin: float) -> "Region":
        """Return the region grown by `margin` base pixels on each side."""
        return Region(
            self.x - margin, self.y - margin, self.width + 2 * margin, self.height + 2 * margin
        )


def to_base_pixels(length: Microns, resolution: Mpp) -> BasePixels:
    """Return a physical length in base pixels, not rounded."""
    return BasePixels(length / resolution)
