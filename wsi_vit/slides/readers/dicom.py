"""The JPEG frames of a DICOM slide: where each lies in its file, and what its components are.

Each level is a file of its own (PS3.3, C.8.12.4), a frame is a tile, and a frame's bytes are an
item of the encapsulated pixel data (PS3.5, A.4). What a frame's three components are is said twice:
by the attribute PhotometricInterpretation and by the JPEG's own markers. Where they differ the
markers are right, since whoever wrote them encoded the pixels; writers that only copy frames into
DICOM get the attribute wrong, and viewers that believe it show tissue in false colours.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.files import companions
from wsi_vit.slides.jpeg.level import StoredLevel
from wsi_vit.slides.jpeg.stream import Colour, StreamError, spoken_colour
from wsi_vit.slides.readers.reader import Level

if TYPE_CHECKING:
    from pydicom import Dataset

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_COLOURS: dict[str, Colour] = {"RGB": "RGB", "YBR_FULL": "YCbCr", "YBR_FULL_422": "YCbCr"}
_ITEM = (0xFFFE, 0xE000)
_ELEMENT_BYTES = 12
"""Tag, kind and length of the pixel data."""
_OPEN_END = 0xFFFF_FFFF
_HEADER_BYTES = 4096
"""Enough for the markers before a frame's pixels."""
_NOT_UNDERSTOOD = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)
"""What pydicom and its values raise over a header that is damaged or says less than it should."""


def dicom_levels(path: Path, levels: Sequence[Level]) -> tuple[StoredLevel | None, ...]:
    """Return the JPEG frames behind each level; None where a level is stored otherwise.

    Only headers are read. What cannot be understood is no error here: the slide's reader can still
    read that level, or says why not.
    """
    found = [_instance(file) for file in (path, *companions(path))]
    series = found[0][0]
    stored = [level for its, level in found if its == series and level is not None]
    return tuple(
        next((item for item in stored if _is_behind(item, level)), None) for level in levels
    )


def _instance(file: Path) -> tuple[str | None, StoredLevel | None]:
    """Return the series a file belongs to and the level it stores; None where it says neither."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        with file.open("rb") as stream:
            said = dcmread(stream, stop_before_pixels=True)  # stands at the pixels afterwards
            level = _stored(said, stream, file) if _is_plain(said) else None
            return said.SeriesInstanceUID, level
    except (InvalidDicomError, *_NOT_UNDERSTOOD):
        return None, None


def _is_plain(said: "Dataset") -> bool:
    """Say whether an instance is one plane of baseline JPEG tiles, three components of 8 bits."""
    wanted: dict[str, tuple[Any, ...]] = {
        "SamplesPerPixel": (3,),
        "BitsAllocated": (8,),
        "TotalPixelMatrixFocalPlanes": (1, None),
        "NumberOfOpticalPaths": (1, None),
        "InConcatenationNumber": (None,),
    }
    return (
        said.file_meta.TransferSyntaxUID == _JPEG_BASELINE
        and "VOLUME" in said.get("ImageType", ())
        and said.get("PhotometricInterpretation") in _COLOURS
        and all(said.get(name) in values for name, values in wanted.items())
    )


def _stored(said: "Dataset", stream: BinaryIO, file: Path) -> StoredLevel | None:
    """Return what an instance stores, if each of its frames is one piece and has one place."""
    frames, places = _frames(stream), _places(said)
    if places is None or not len(frames) == len(places) > 0:
        return None
    width, height = int(said.TotalPixelMatrixColumns), int(said.TotalPixelMatrixRows)
    across, down = int(said.Columns), int(said.Rows)
    offsets, counts = np.zeros((2, -(-width // across) * -(-height // down)), np.int64)
    offsets[places], counts[places] = frames.T
    tag = _COLOURS[said.PhotometricInterpretation]
    return StoredLevel(
        path=file,
        width=width,
        height=height,
        tile_width=across,
        tile_height=down,
        offsets=offsets,
        counts=counts,
        tables=b"",
        colour=tag,
        colour_from="markers",
        is_recoloured=_spoken(stream, frames[0]) not in (tag, None),
    )


def _frames(stream: BinaryIO) -> NDArray[np.int64]:
    """Return where each item of the pixel data lies and how long it is, (frames, 2).

    The stream stands at the element (7FE0,0010). The first item is the table of offsets, which may
    be empty and is not needed where each frame is one item. A byte of padding is not counted.
    """
    at, end = stream.tell() + _ELEMENT_BYTES, stream.seek(0, os.SEEK_END)
    found = []
    while at + 8 <= end:
        stream.seek(at)
        group, element, count = struct.unpack("<HHI", stream.read(8))
        if (group, element) != _ITEM or count == _OPEN_END or at + 8 + count > end:
            break
        found.append((at + 8, count))
        at += 8 + count
    return np.array([_unpadded(stream, *item) for item in found[1:]], np.int64).reshape(-1, 2)


def _unpadded(stream: BinaryIO, offset: int, count: int) -> tuple[int, int]:
    stream.seek(offset + max(count - 1, 0))
    return offset, count - (stream.read(1) == b"\0")


def _places(said: "Dataset") -> NDArray[np.int64] | None:
    """Return each frame's number among the tiles, row by row; None where some lie between them."""
    across, down = int(said.Columns), int(said.Rows)
    columns = -(-int(said.TotalPixelMatrixColumns) // across)
    rows = -(-int(said.TotalPixelMatrixRows) // down)
    if said.get("DimensionOrganizationType") == "TILED_FULL":
        return np.arange(columns * rows)
    groups = said.get("PerFrameFunctionalGroupsSequence") or []
    if not all("PlanePositionSlideSequence" in group for group in groups):
        return None
    corners = [group.PlanePositionSlideSequence[0] for group in groups]
    x = np.array([int(c.ColumnPositionInTotalImagePixelMatrix) - 1 for c in corners], np.int64)
    y = np.array([int(c.RowPositionInTotalImagePixelMatrix) - 1 for c in corners], np.int64)
    places = y // down * columns + x // across
    fits = not (x % across).any() and not (y % down).any()
    inside = len(places) > 0 and places.min() >= 0 and places.max() < columns * rows
    return places if fits and inside and len(np.unique(places)) == len(places) else None


def _spoken(stream: BinaryIO, frame: NDArray[np.int64]) -> Colour | None:
    """Return what the markers of a frame say its components are."""
    stream.seek(int(frame[0]))
    try:
        return spoken_colour(stream.read(min(_HEADER_BYTES, int(frame[1]))))
    except StreamError:
        return None


def _is_behind(stored: StoredLevel, level: Level) -> bool:
    return (stored.width, stored.height, stored.tile_width, stored.tile_height) == (
        level.width,
        level.height,
        level.tile_width,
        level.tile_height,
    )
