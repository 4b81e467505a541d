"""An encoded picture without anything but its pixels, for publication.

A file tells more than its pixels: EXIF, comments, thumbnails, colour profiles, bytes after its end.
Any of them may name a patient or a scanner. Pixels are not encoded anew where that can be helped.
"""

import re
from collections.abc import Iterator
from io import BytesIO

import numpy as np

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_APP0, _ADOBE, _COMMENT, _SCAN, _END = 0xE0, 0xEE, 0xFE, 0xDA, 0xD9
_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""The next marker: no stuffed 0xFF of the data, and no restart within it."""


def bare_picture(data: bytes) -> bytes:
    """Return the picture with its pixels alone: the same when decoded, byte for byte.

    Of JPEG and PNG only what decoding needs is kept; other formats become PNG.

    Raises:
        OSError: It cannot be decoded.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return b"\xff\xd8" + b"".join(_jpeg_parts(data))
        if data.startswith(_PNG):
            return _PNG + b"".join(_png_parts(data))
    except (IndexError, ValueError):
        # An odd file that decoders forgive; what it shows is kept, its bytes are not.
        return _as_png(data)
    return _as_png(data)


def _png_parts(data: bytes) -> Iterator[bytes]:
    """Yield the chunks that make the pixels, up to the end of the picture."""
    start, kind = len(_PNG), b""
    while kind != b"IEND":
        end = start + 12 + int.from_bytes(data[start : start + 4])
        kind = data[start + 4 : start + 8]
        if end > len(data):
            raise ValueError("a chunk is cut off")
        if kind in _PNG_PIXELS:
            yield data[start:end]
        start = end


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    """Yield the segments that make the pixels, each scan with its data, up to the end mark."""
    start = 2
    while True:
        while data[start + 1] == 0xFF:  # fill bytes before a marker
            start += 1
        if data[start] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = data[start + 1]
        if marker == _END:
            yield b"\xff\xd9"
            return
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        yield _kept_segment(marker, data[start:end])
        start = end
        if marker == _SCAN:
            following = _AFTER_SCAN.search(data, start)
            if following is None:
                raise ValueError("no end mark")
            yield data[start : following.start()]
            start = following.start()


def _kept_segment(marker: int, segment: bytes) -> bytes:
    """Return a segment as it is published; empty where it says nothing of the pixels.

    JFIF and Adobe segments say how colours are coded: their fixed parts stay, a thumbnail goes.
    """
    if marker == _APP0:
        is_jfif = segment[4:9] == b"JFIF\0" and len(segment) >= 18
        return b"\xff\xe0\x00\x10" + segment[4:16] + b"\0\0" if is_jfif else b""
    if marker == _ADOBE:
        is_adobe = segment[4:9] == b"Adobe" and len(segment) >= 16
        return b"\xff\xee\x00\x0e" + segment[4:16] if is_adobe else b""
    return b"" if _APP0 < marker <= 0xEF or marker == _COMMENT else segment


def _as_png(data: bytes) -> bytes:
    from PIL import Image

    stream = BytesIO()
    with Image.open(BytesIO(data)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    Image.fromarray(pixels).save(stream, "PNG")  # from the array: nothing else comes along
    return stream.getvalue()
