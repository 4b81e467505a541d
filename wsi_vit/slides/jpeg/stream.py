"""JPEG as TIFF stores it, made to stand alone: headers only, no pixel is decoded.

A TIFF tile may lack its tables (they lie in the tag JPEGTables) and may not say what its three
components are (the tag PhotometricInterpretation does). Both are written into the tile's own
header, so that any decoder gives the colours that the TIFF means; the compressed pixels are not
touched. References: ITU-T T.81 (markers), T.872 6.5.3 (APP14), TIFF Technical Note 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Colour = Literal["RGB", "YCbCr"]
"""What the three components are."""

_START, _SCAN, _FRAME, _HUFFMAN = b"\xff\xd8", 0xDA, 0xC0, 0xC4
_KEPT = frozenset({0xDB, _HUFFMAN, 0xDD})
"""Tables and the restart interval. Comments and application data are left behind: they add nothing
to the pixels, and may name a patient."""
_JFIF = 0xE0
_ADOBE_TRANSFORM = 15
"""Where an Adobe segment says what the components are, marker and length counted."""
_TRANSFORM: dict[Colour, int] = {"RGB": 0, "YCbCr": 1}


class StreamError(ValueError):
    """A JPEG stream that is not what is kept as it is; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """The bytes before the compressed pixels, as stored and as they must read to stand alone.

    Told apart by being itself: a level keeps those it has seen, and makes others anew each time.
    """

    stored: bytes
    standalone: bytes
    flat_is_zeros: bool
    """Whether a flat picture may be a run of zero bits: in every Huffman table the shortest code,
    which is all zeros, then stands for "no change". The usual tables are not so."""


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    data: bytes
    """With marker and length."""


def standing_alone(
    stored: bytes, tables: bytes, *, colour: Colour, size: tuple[int, int]
) -> Opening:
    """Return how a stored tile opens, and how it must open to stand alone.

    Args:
        stored: The tile's bytes, or as many of them as hold the whole header.
        tables: The tag JPEGTables; empty where the tile brings its own.
        colour: What the TIFF says the components are.
        size: Width and height of the stored tile in pixels.

    Raises:
        StreamError: Not a baseline JPEG of 8 bits, three components and this size, in one scan.
    """
    segments = list(_segments(stored))
    end = len(_START) + sum(len(segment.data) for segment in segments)
    frames = [segment.data for segment in segments if 0xC0 <= segment.marker <= 0xCF
              and segment.marker not in (0xC4, 0xC8, 0xCC)]  # fmt: skip
    _refuse_other_frames(frames, segments[-1].data, size)
    own = [segment for segment in segments if segment.marker in {*_KEPT, _FRAME, _SCAN}]
    shared = [item for item in _segments(tables) if item.marker in _KEPT] if tables else []
    flat = all(_first_symbols_are_zero(item) for item in (*shared, *own) if item.marker == _HUFFMAN)
    if _is_plain(segments, own, colour) and not shared:
        return Opening(stored[:end], stored[:end], flat)
    pieces = [_START, _adobe(colour), *(item.data for item in (*shared, *own))]
    return Opening(stored[:end], b"".join(pieces), flat)


def spoken_colour(stored: bytes) -> Colour | None:
    """Return what a stream's own markers say its components are; None where they do not say.

    JFIF means YCbCr; an Adobe segment says which; components may be called R, G and B (libjpeg's
    rules, in its order).

    Raises:
        StreamError: The header breaks off.
    """
    segments = list(_segments(stored))
    adobe = next((item.data for item in segments if item.data[4:9] == b"Adobe"), None)
    frame = next((item.data for item in segments if item.marker == _FRAME), b"")
    if any(item.marker == _JFIF and item.data[4:9] == b"JFIF\0" for item in segments):
        return "YCbCr"
    if adobe is not None and len(adobe) > _ADOBE_TRANSFORM:
        return "RGB" if adobe[_ADOBE_TRANSFORM] == 0 else "YCbCr"
    return "RGB" if frame[10::3][:3] == b"RGB" else None


def _segments(stream: bytes) -> Iterator[_Segment]:
    """Yield the segments up to the start of the scan, or the end of a stream of tables."""
    if stream[:2] != _START:
        raise StreamError("no start of image")
    at = 2
    while True:
        if stream[at : at + 2] == b"\xff\xd9":
            return
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        data = stream[at : at + 2 + length]
        if len(data) < 4 or data[0] != 0xFF or length < 2 or len(data) < 2 + length:
            raise StreamError("the header breaks off")
        yield _Segment(data[1], data)
        if data[1] == _SCAN:
            return
        at += len(data)


def _refuse_other_frames(frames: list[bytes], scan: bytes, size: tuple[int, int]) -> None:
    if len(frames) != 1 or frames[0][1] != _FRAME:
        raise StreamError("no baseline JPEG")
    frame = frames[0]
    height, width = (int.from_bytes(frame[at : at + 2], "big") for at in (5, 7))
    if (frame[4], frame[9]) != (8, 3) or scan[1] != _SCAN or scan[4] != 3:
        raise StreamError("not three components of 8 bits in one scan")
    if (width, height) != size:
        raise StreamError(f"{width} x {height} px where the file says {size[0]} x {size[1]}")


def _first_symbols_are_zero(tables: _Segment) -> bool:
    """Say whether each table of a segment begins with the symbol 0 (T.81, B.2.4.2)."""
    at, data = 4, tables.data
    while at + 17 < len(data):
        if data[at + 17] != 0:
            return False
        at += 17 + sum(data[at + 1 : at + 17])
    return True


def _is_plain(segments: list[_Segment], own: list[_Segment], colour: Colour) -> bool:
    """Say whether every decoder takes the components as YCbCr: a JFIF header, and no other word."""
    others = [segment for segment in segments if segment not in own]
    is_jfif = len(others) == 1 and others[0].marker == _JFIF and others[0].data[4:9] == b"JFIF\0"
    return colour == "YCbCr" and is_jfif and segments[0].marker == _JFIF


def _adobe(colour: Colour) -> bytes:
    """Return an APP14 segment that says what the components are."""
    body = b"Adobe" + (100).to_bytes(2, "big") + bytes(4) + bytes([_TRANSFORM[colour]])
    return b"\xff\xee" + (len(body) + 2).to_bytes(2, "big") + body
