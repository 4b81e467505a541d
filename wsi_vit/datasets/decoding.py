"""Encoded bytes -> pixels: simplejpeg for JPEG where it is installed, else Pillow."""

import struct
from functools import cache
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import DatasetError

Decoder = Literal["simplejpeg", "pillow"]

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What decoders raise at damaged bytes."""


def jpeg_decoder() -> Decoder:
    """Return what decodes JPEG here; decoders differ in the last bit, so runs record it."""
    return "simplejpeg" if _simplejpeg() else "pillow"


def decode_image(data: Any, *, name: str) -> NDArray[np.uint8]:
    """Decode JPEG, PNG or another image to RGB, shape (h, w, 3); `data` is bytes or a buffer.

    Raises:
        DatasetError: It cannot be decoded.
    """
    from PIL import Image

    jpeg = _simplejpeg() if bytes(data[:2]) == b"\xff\xd8" else None
    try:
        if jpeg:
            return jpeg(data)
        return np.array(Image.open(BytesIO(data)).convert("RGB"))
    except _UNREADABLE as error:
        raise DatasetError(
            f"The stored image of {name} cannot be decoded",
            got=f"{error.__class__.__name__}: {error}",
            remedy="Run `wsi-vit verify` on the store, delete the damaged shard and make it again",
        ) from error


def decode_mask(data: Any) -> NDArray[np.uint8]:
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
            "A stored mask cannot be decoded",
            got=error.__class__.__name__,
            remedy="Run `wsi-vit verify` on the store, and build the dataset again",
        ) from error


@cache
def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:  # a machine that only trains may lack it: Pillow decodes there
        return None
    return simplejpeg.decode_jpeg
