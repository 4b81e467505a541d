"""Write RGB pixels as the tiled pyramid that OpenSlide opens as Aperio's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic.settings import SyntheticSection
from wsi_vit.store import write_whole

_TILE_PX = 256
_STEP = 4
"""Each level is a quarter of the one before, as Aperio's scanners write them."""


def write_aperio(picture: NDArray[np.uint8], path: Path, section: SyntheticSection) -> None:
    """Write a picture (height, width, 3) with levels 1, 4 and 16 and a thumbnail.

    The bytes depend on the pixels and the section only: no date, no host, no software tag.
    """
    import tifffile

    levels = [picture, *_coarser(picture, count=2)]
    with write_whole(path) as scratch, tifffile.TiffWriter(scratch, bigtiff=False) as writer:
        _write(writer, levels[0], _describe(picture, levels[0], section), section, tiled=True)
        _write(writer, levels[2], _describe(picture, levels[2], section), section, tiled=False)
        for level in levels[1:]:
            _write(writer, level, _describe(picture, level, section), section, tiled=True)


def _write(
    writer: Any, level: NDArray[np.uint8], text: str, section: SyntheticSection, *, tiled: bool
) -> None:
    layout = {"tile": (_TILE_PX, _TILE_PX)} if tiled else {"rowsperstrip": 16}
    writer.write(
        level,
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": section.jpeg_quality},
        description=text,
        metadata=None,
        software=False,
        **layout,
    )


def _describe(base: NDArray[np.uint8], level: NDArray[np.uint8], section: SyntheticSection) -> str:
    height, width = base.shape[:2]
    rows, columns = level.shape[:2]
    size = f"{width}x{height} [0,0 {width}x{height}] ({_TILE_PX}x{_TILE_PX})"
    shown = "" if rows == height else f" -> {columns}x{rows}"
    return (
        f"Aperio Image Library v0 (synthetic, wsi-vit)\r\n{size}{shown} JPEG/RGB "
        f"Q={section.jpeg_quality}|AppMag = {10 / section.mpp:g}|MPP = {section.mpp:.6g}"
        "|Title = synthetic, shows no patient"
    )


def _coarser(picture: NDArray[np.uint8], *, count: int) -> Iterator[NDArray[np.uint8]]:
    for _ in range(count):
        picture = shrink(picture)
        yield picture


def shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mean of each square of 4 by 4 pixels, shape (height // 4, width // 4, 3)."""
    height, width = (length // _STEP * _STEP for length in picture.shape[:2])
    total = np.full((height // _STEP, width // _STEP, 3), _STEP * _STEP // 2, np.uint16)
    for row in range(_STEP):
        for column in range(_STEP):
            total += picture[row:height:_STEP, column:width:_STEP]
    return (total // (_STEP * _STEP)).astype(np.uint8)
