"""The Aperio-style slide that tiling is measured on: a mosaic of synthetic tissue."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TILE, BASE_MPP, QUALITY = 256, 0.25, 80
MOSAIC_PX = 4096
"""Side of the picture that the slide repeats: whole tiles on every level."""


def draw_slide(path: Path, width: int, height: int) -> None:
    """Write the slide."""
    import simplejpeg
    import tifffile

    def encoded(picture: NDArray[np.uint8]) -> list[list[bytes]]:
        rows, columns = picture.shape[0] // TILE, picture.shape[1] // TILE
        parts = picture.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2)
        return [
            [simplejpeg.encode_jpeg(np.ascontiguousarray(part), QUALITY, colorsubsampling="420")
             for part in row]
            for row in parts
        ]  # fmt: skip

    def mosaic(tiles: list[list[bytes]], wide: int, high: int) -> Iterator[bytes]:
        for row in range(-(-high // TILE)):
            for column in range(-(-wide // TILE)):
                yield tiles[row % len(tiles)][column % len(tiles)]

    picture = tissue_square()
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for step in (1, 4, 16):
            side = MOSAIC_PX // step
            small = picture.reshape(side, step, side, step, 3).mean((1, 3)).astype(np.uint8)
            wide, high = width // step, height // step
            said = "Aperio Image Library v11.2.1 \r\n" + f"{wide}x{high} ({TILE}x{TILE}) JPEG/YCC"
            writer.write(
                mosaic(encoded(small), wide, high), shape=(high, wide, 3), dtype=np.uint8,
                tile=(TILE, TILE), compression="jpeg", photometric="ycbcr", subsampling=(2, 2),
                metadata=None, description=f"{said}|AppMag = 40|MPP = {BASE_MPP}",
            )  # fmt: skip
            if step == 1:  # Aperio's second page is a thumbnail
                writer.write(small[::16, ::16], photometric="rgb", metadata=None,
                             description="Aperio Image Library v11.2.1 \r\nthumbnail")  # fmt: skip


def tissue_square() -> NDArray[np.uint8]:
    """Return a square of synthetic colon at 0.25 µm/px."""
    from wsi_vit.slides.slide import open_slide
    from wsi_vit.slides.synthetic import synthesise_cohort
    from wsi_vit.slides.synthetic.settings import SyntheticSection

    drawn = SyntheticSection(width_px=MOSAIC_PX, height_px=MOSAIC_PX, mpp=BASE_MPP)
    with tempfile.TemporaryDirectory() as name:
        cohort = synthesise_cohort(Path(name), slides=1, seed=11, section=drawn)
        with open_slide(next((cohort.parent / "slides").iterdir())) as slide:
            return slide.thumbnail(longest_px=MOSAIC_PX)
