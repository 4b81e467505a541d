"""Encoded bytes -> pixels: simplejpeg for JPEG where it is installed, else Pillow."""

import struct
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import DatasetError
from wsi_vit.slides.jpeg.encoding import decode_jpeg, jpeg_size

Decoder = Literal["simplejpeg", "pillow"]
Pixels = NDArray[np.uint8]

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What decoders raise at damaged bytes."""


def jpeg_decoder() -> Decoder:
    """Return what decodes JPEG here; decoders differ in the last bit, so runs record it."""
    return "simplejpeg" if has_simplejpeg() else "pillow"


def decode_images(streams: Sequence[Any], names: Sequence[str]) -> list[Pixels]:
    """Decode images as `decode_image` does.

    JPEG of one size lie in one piece of memory: touching a page for the first time costs, and large
    pieces have large pages. It took a third off the time of a batch.

    Raises:
        DatasetError: One cannot be decoded; it is named.
    """
    size = _size_of(streams[0], names[0]) if streams and has_simplejpeg() else None
    if size is None:
        pairs = zip(streams, names, strict=True)
        return [decode_image(data, name=name) for data, name in pairs]
    room = np.empty((len(streams), *size, 3), np.uint8)
    return [
        decode_image(data, name=name, room=place if _size_of(data, name) == size else None)
        for data, name, place in zip(streams, names, room, strict=True)
    ]


def decode_image(data: Any, *, name: str, room: Pixels | None = None) -> Pixels:
    """Decode JPEG, PNG or another image to RGB, shape (h, w, 3); `data` is bytes or a buffer.

    simplejpeg refuses what is damaged; Pillow, in its place, may show a damaged part in grey.

    Args:
        data: The bytes.
        name: Whose image it is, for the error.
        room: Where the pixels of a JPEG go, of exactly its size; new memory where it is absent.

    Raises:
        DatasetError: It cannot be decoded.
    """
    from PIL import Image

    try:
        if has_simplejpeg() and _is_jpeg(data):
            return decode_jpeg(data, "RGB", room=room)
        return np.array(Image.open(BytesIO(data)).convert("RGB"))
    except _UNREADABLE as error:
        raise _damaged(name, error) from error


def decode_mask(data: Any, *, name: str) -> Pixels:
    """Decode the PNG of a mask to training ids, shape (h, w); `data` is bytes or a buffer.

    Raises:
        DatasetError: The bytes are no image.
    """
    from PIL import Image

    try:
        picture = Image.open(BytesIO(data))
        if picture.mode not in {"L", "P"}:
            raise ValueError(f"{picture.mode} pixels are no ids of one byte")
        return np.array(picture, dtype=np.uint8)
    except _UNREADABLE as error:
        raise DatasetError(
            f"The stored mask of {name} cannot be decoded",
            got=f"{error.__class__.__name__}: {error}",
            remedy="Run `wsi-vit verify` on the store, and build the dataset again",
        ) from error


@cache
def has_simplejpeg() -> bool:
    """Say whether simplejpeg is here; a machine that only trains may lack it."""
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        return False
    return True


def _is_jpeg(data: Any) -> bool:
    return bytes(data[:2]) == b"\xff\xd8"


def _size_of(data: Any, name: str) -> tuple[int, int] | None:
    """Return height and width of a JPEG, None of anything else."""
    try:
        return jpeg_size(data) if _is_jpeg(data) else None
    except ValueError as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"The stored image of {name} cannot be decoded",
        got=f"{error.__class__.__name__}: {error}",
        remedy="Run `wsi-vit verify` on the store, delete the damaged shard and make it again",
    )
