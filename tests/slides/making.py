"""Tiny slides that tests write for themselves."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]
_PER_CM = 10_000.0


def write_tiff(
    path: Path, pixels: Pixels, *, mpp: float | None = 0.5, levels: int = 1, **options: Any
) -> Path:
    """Write a tiled TIFF; each further level is half the one before (area means)."""
    rate: dict[str, Any] = {}
    if mpp:
        rate = {"resolution": (_PER_CM / mpp, _PER_CM / mpp), "resolutionunit": "CENTIMETER"}
    common = {"tile": (64, 64), "photometric": "rgb", "metadata": None, **rate, **options}
    with tifffile.TiffWriter(path) as writer:
        for index in range(levels):
            writer.write(pixels, subfiletype=1 if index else 0, **common)
            height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
            parts = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, -1)
            pixels = parts.mean(axis=(1, 3)).round().astype(np.uint8)
    return path


def checkerboard(width: int, height: int, square: int) -> Pixels:
    """Return black and white squares, (height, width, 3)."""
    y, x = np.mgrid[:height, :width] // square
    return np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)


def stained(width: int, height: int, *, blob: tuple[int, int, int, int], seed: int = 0) -> Pixels:
    """Return glass with one stained rectangle (left, top, right, bottom), a little noisy."""
    noise = np.random.default_rng(seed).integers(-6, 7, (height, width, 3))
    pixels = np.full((height, width, 3), 242) + noise // 3
    left, top, right, bottom = blob
    part = noise[top:bottom, left:right] * 3
    pixels[top:bottom, left:right] = np.array([180, 110, 170]) + part
    return pixels.clip(0, 255).astype(np.uint8)


def zero_tile(path: Path, index: int) -> Path:
    """Overwrite the stored bytes of one tile of the first page."""
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        offset, count = page.dataoffsets[index], page.databytecounts[index]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(bytes(count))
    return path


JpegKind = Literal["tables", "own tables", "rgb", "rgb with jfif"]


def write_jpeg_tiff(
    path: Path,
    pixels: Pixels,
    *,
    kind: JpegKind = "own tables",
    mpp: float = 0.5,
    tile: int = 64,
    levels: int = 1,
    mended: Callable[[bytes], bytes] = bytes,
) -> Path:
    """Write JPEG tiles as scanners do, each further level half the one before.

    Beyond the slide's edges lies black.
    """
    rate = (_PER_CM / mpp, _PER_CM / mpp)
    options: dict[str, Any] = {"photometric": "rgb"}
    if kind in ("tables", "own tables"):
        options = {"photometric": "ycbcr", "subsampling": (2, 2)}
    with tifffile.TiffWriter(path) as writer:
        for index in range(levels):
            tiles = [mended(encoded(part, kind)) for part in parts_of(pixels, tile)]
            tables = _split(tiles[0])[0] if kind in ("tables", "rgb") else b""
            if tables:
                options["jpegtables"] = tables
                tiles = [_split(item)[1] for item in tiles]
            writer.write(
                iter(tiles), shape=pixels.shape, dtype=np.uint8, tile=(tile, tile), metadata=None,
                compression="jpeg", resolution=rate, resolutionunit="CENTIMETER",
                subfiletype=1 if index else 0, **options,
            )  # fmt: skip
            pixels = np.ascontiguousarray(pixels[: len(pixels) // 2 * 2 : 2, 1::2])
    return path


def parts_of(pixels: Pixels, tile: int) -> Iterator[Pixels]:
    """Yield whole tiles row by row, black beyond the edges."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % tile), (0, -width % tile), (0, 0)))
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            yield np.ascontiguousarray(padded[y : y + tile, x : x + tile])


def encoded(part: Pixels, kind: JpegKind) -> bytes:
    """Return a tile as JPEG: YCbCr with JFIF, or RGB with an Adobe segment."""
    if kind in ("tables", "own tables"):
        return simplejpeg.encode_jpeg(part, quality=85, colorsubsampling="420")
    stream = imagecodecs.jpeg8_encode(
        part, level=85, colorspace="RGB", outcolorspace="RGB", subsampling="444"
    )
    if kind == "rgb with jfif":  # which says YCbCr, against the TIFF's own tag
        jfif = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
        stream = b"\xff\xd8" + jfif + stream[2:]
    return stream


def _split(stream: bytes) -> tuple[bytes, bytes]:
    """Return tables alone, and the tile without them and without application data."""
    at, tables, rest = 2, b"", b""
    while True:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = stream[at : at + 2 + length]
        if marker in (0xDB, 0xC4):
            tables += segment
        elif not 0xE0 <= marker <= 0xEF:
            rest += segment
        at += len(segment)
        if marker == 0xDA:
            return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + stream[at:]


def tissue_like(width: int, height: int, *, seed: int = 0) -> Pixels:
    """Return something with the spectrum of stained tissue, (height, width, 3)."""
    rng = np.random.default_rng(seed)
    ground = np.array([200, 140, 185.0])
    pixels = np.tile(ground, (height, width, 1))
    for sigma, strength in ((12, 60), (4, 40), (1.5, 18)):
        field = ndimage.gaussian_filter(rng.standard_normal((height, width)), sigma)
        pixels += (field / field.std() * strength * 0.5)[..., None] * np.array([0.8, 1.0, 0.6])
    return pixels.clip(0, 255).astype(np.uint8)
