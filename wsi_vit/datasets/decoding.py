"""Encoded bytes -> pixels: simplejpeg for JPEG where it is installed, else Pillow."""

import struct
from functools import cache
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import DatasetError
from wsi_vit.slides.jpeg import decode_jpeg

Decoder = Literal["simplejpeg", "pillow"]

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What decoders raise at damaged bytes."""


def jpeg_decoder() -> Decoder:
    """Return what decodes JPEG here; decoders differ in the last bit, so runs record it."""
    return "simplejpeg" if has_simplejpeg() else "pillow"


def decode_image(data: Any, *, name: str) -> NDArray[np.uint8]:
    """Decode JPEG, PNG or another image to RGB, shape (h, w, 3); `data` is bytes or a buffer.

    simplejpeg refuses what is damaged; Pillow, in its place, may show a damaged part in grey.

    Raises:
        DatasetError: It cannot be decoded.
    """
    from PIL import Image

    try:
        if has_simplejpeg() and bytes(data[:2]) == b"\xff\xd8":
            return decode_jpeg(data, "RGB")
        return np.array(Image.open(BytesIO(data)).convert("RGB"))
    except _UNREADABLE as error:
        raise DatasetError(
            f"The stored image of {name} cannot be decoded",
            got=f"{error.__class__.__name__}: {error}",
            remedy="Run `wsi-vit verify` on the store, delete the damaged shard and make it again",
        ) from error


def decode_mask(data: Any, *, name: str) -> NDArray[np.uint8]:
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
