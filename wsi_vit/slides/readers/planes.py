"""Which pixels serve a resolution: arithmetic on the pyramid, nothing is read.

A plane is a stored level, or such a level whose JPEG tiles are decoded at a half, a quarter or an
eighth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wsi_vit.slides.jpeg.pixels import FACTORS
from wsi_vit.slides.readers.reader import Level

_LEVEL_SLACK = 1.01
"""A stored level that is coarser than asked by less than this is taken: 4.0005 serves for 4."""
_WHOLE = 1e-6
"""A ratio this near to a whole number is one: the rest is rounding."""
_MANY = 3.0
"""Where an output pixel covers this many pixels of a scaled plane a side, those that its edges cut
no longer matter. Measured on stained tissue against full decoding: 43 dB at 3, 40 at 2.5, and 32 to
37 between 1 and 2, where a plane of exact 2 x 2 means would do no better."""
_BLOCK_PX = 16
"""Side of the blocks that JPEG packs together; beyond the slide's edge they hold anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One resolution that can be read without resampling."""

    level: int
    factor: int
    """1, or by how much the level's JPEG tiles are scaled down while they are decoded."""
    downsample: float
    """Base pixels per pixel of the plane, not rounded."""
    width: int
    height: int
    """Pixels that show nothing but the slide."""
    is_clipped: bool = False
    """Whether the level goes on beyond them."""


def planes_of(levels: Sequence[Level], is_jpeg: Sequence[bool]) -> tuple[Plane, ...]:
    """List the planes of a pyramid; scaled ones only where the level's tiles are JPEG."""
    return tuple(
        _plane(number, level, factor)
        for number, (level, scales) in enumerate(zip(levels, is_jpeg, strict=True))
        for factor in FACTORS
        if factor == 1 or (scales and _scales(level, factor))
    )


def plane_for(
    planes: Sequence[Plane], downsample: float, *, corner: tuple[float, float] = (0.0, 0.0)
) -> Plane:
    """Return the coarsest plane that serves; the finest level where all would have to be enlarged.

    A stored level serves what is not finer than it. A scaled one must also give the same picture
    as the level it is made from: output pixels are whole pixels of it, or cover many of them. Of
    planes of one resolution the one that is scaled least while decoding is taken.

    Args:
        planes: See `planes_of`.
        downsample: Base pixels per output pixel.
        corner: Where the output starts, in base pixels.
    """
    fits = [plane for plane in planes if _serves(plane, downsample, corner)]
    if not fits:
        return planes[0]
    coarsest = max(plane.downsample for plane in fits)
    same = [plane for plane in fits if plane.downsample * _LEVEL_SLACK >= coarsest]
    return min(same, key=lambda plane: (plane.factor, plane.downsample))


def _serves(plane: Plane, downsample: float, corner: tuple[float, float]) -> bool:
    if plane.factor == 1:
        return plane.downsample <= downsample * _LEVEL_SLACK
    step = downsample / plane.downsample
    if step < 1 - _WHOLE:
        return False
    return step >= _MANY or all(
        is_whole(value) for value in (step, *(start / plane.downsample for start in corner))
    )


def is_whole(value: float) -> bool:
    """Say whether a ratio is a whole number, but for rounding."""
    return abs(value - round(value)) < _WHOLE


def _scales(level: Level, factor: int) -> bool:
    """Say whether a tile holds whole blocks, so that scaled tiles join without a seam."""
    sides = (level.tile_width, level.tile_height)
    return all(side % _BLOCK_PX == 0 and side % factor == 0 for side in sides)


def _plane(number: int, level: Level, factor: int) -> Plane:
    whole = level.width, level.height
    clean = whole if factor == 1 else tuple(side // _BLOCK_PX * _BLOCK_PX for side in whole)
    return Plane(
        level=number,
        factor=factor,
        downsample=level.downsample * factor,
        width=clean[0] // factor,
        height=clean[1] // factor,
        is_clipped=clean != whole,
    )
