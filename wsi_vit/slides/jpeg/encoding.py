"""Tiles as JPEG bytes, the same for the same pixels, and back without inventing any."""

import re
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ENCODER = "simplejpeg"
"""Named in the key of what it shapes."""

Chroma = Literal["4:2:0", "4:2:2", "4:4:4"]
"""How much of the colour is kept beside the brightness: a quarter, a half, all."""

_BEHIND = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
"""All blocks were decoded and something lies behind them: padding, or the end of damaged data."""
_MOST_PADDING = 15
_END = b"\xff\xd9"


def encode_jpeg(image: NDArray[np.uint8], quality: int, *, chroma: Chroma = "4:2:0") -> bytes:
    """Return a baseline JPEG of an RGB or RGBX image (height, width, 3 or 4)."""
    import simplejpeg

    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(image),
        quality=quality,
        colorspace="RGB" if image.shape[2] == 3 else "RGBX",
        colorsubsampling=chroma.replace(":", ""),
    )


def decode_jpeg(
    stream: Any,
    colours: Literal["RGB", "RGBX"],
    *,
    least: tuple[int, int] = (0, 0),
    room: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Decode a JPEG (bytes or a buffer), believing no pixel the decoder has doubts about.

    A few zeros between the last block and the end are no doubt: some scanners write them.

    Args:
        stream: The bytes.
        colours: What the last axis holds; the fourth value of RGBX means nothing.
        least: Height and width in pixels; scaled down while decoding as far as these allow, where
            they are not 0.
        room: Where the pixels go, contiguous and of exactly their size; new memory where it is
            absent.

    Raises:
        ValueError: The decoder minds something.
    """
    import simplejpeg

    height, width = least
    decode = partial(
        simplejpeg.decode_jpeg,
        stream,
        colours,
        min_height=height,
        min_width=width,
        buffer=room,
    )
    try:
        return decode()
    except ValueError as error:
        if not _is_padded(stream, str(error)):
            raise
        return decode(strict=False)


def jpeg_size(stream: Any) -> tuple[int, int]:
    """Return height and width of a JPEG (bytes or a buffer), from its header.

    Raises:
        ValueError: It has none.
    """
    import simplejpeg

    height, width, _, _ = simplejpeg.decode_jpeg_header(stream)
    return int(height), int(width)


def _is_padded(stream: Any, complaint: str) -> bool:
    """Say whether all that the decoder minds is zeros between the last block and the end."""
    found = _BEHIND.search(complaint)
    count = int(found.group(1)) if found else 0
    tail = bytes(stream[-(count + len(_END)) :]) if 0 < count <= _MOST_PADDING else b""
    return bool(tail) and tail == bytes(count) + _END
