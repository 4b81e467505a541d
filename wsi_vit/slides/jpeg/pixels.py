"""Pixels of JPEG tiles, decoded at full size or straight at a half, a quarter or an eighth.

libjpeg-turbo scales inside the inverse cosine transform, so a tile at half size costs less than a
whole one and needs no resampling. What neighbours share is decoded once; what they do not is not
kept, so that the next tile takes its memory, which caches still hold.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.jpeg.encoding import decode_jpeg
from wsi_vit.slides.jpeg.level import StoredLevel
from wsi_vit.slides.jpeg.stored import StoredTiles
from wsi_vit.slides.jpeg.stream import Opening, StreamError
from wsi_vit.slides.readers.reader import unreadable_tiles

FACTORS = (1, 2, 4, 8)
"""Scales that libjpeg-turbo decodes at with vector instructions."""
CACHE_BYTES = 96 << 20
"""Decoded tiles that a slide keeps: two rows of 256-px tiles of the widest slides at half size."""

_ZEROS = bytes(16)
"""As many as no compressed picture holds, but for the tables that `Opening` names."""

_NOTED = 1024
"""Tiles decoded and not kept that are remembered by name: where pictures overlap, it shows at once.
"""

Pixels = NDArray[np.uint8]
_Key = tuple[int, int, int]
"""Level, factor, and number of a stored tile."""


class NotThisWayError(Exception):
    """The tile is not to be judged here: the slide's own reader says what it is."""


class JpegPixels:
    """Decodes the stored tiles of a slide; safe from several threads."""

    def __init__(self, tiles: StoredTiles, *, cache_bytes: int) -> None:
        self.tiles = tiles
        self._name = tiles.path.name
        self._kept = _Recent(cache_bytes)

    def read(self, level: int, factor: int, box: tuple[int, int, int, int]) -> Pixels:
        """Return RGBX pixels (height, width, 4) of a level decoded at 1/factor.

        Args:
            level: Number of the level.
            factor: One of `FACTORS`.
            box: x, y, width, height in pixels of the scaled level, inside it.

        Raises:
            SlideError: UNREADABLE_TILES.
            NotThisWayError: A tile is not stored, or is no JPEG of the kind that is known here.
        """
        stored = self.tiles.levels[level]
        if stored is None:
            raise NotThisWayError
        x, y, width, height = box
        across, down = stored.tile_width // factor, stored.tile_height // factor
        out = np.empty((height, width, 4), np.uint8)
        for row in range(y // down, (y + height - 1) // down + 1):
            for column in range(x // across, (x + width - 1) // across + 1):
                index, at = row * stored.columns + column, (column * across - x, row * down - y)
                tile = self._kept.get(
                    (level, factor, index),
                    partial(self._decoded, stored, index, factor),
                    is_shared=min(at) < 0 or at[0] + across > width or at[1] + down > height,
                )
                _paste(tile, at, out)
        return out

    def _decoded(self, stored: StoredLevel, index: int, factor: int) -> Pixels:
        try:
            stream, opening = self.tiles.standalone(stored, index)
        except StreamError as error:
            raise NotThisWayError from error
        return decode_strictly(stream, opening, stored, factor, self._name)


def decode_strictly(
    stream: bytes, opening: Opening, stored: StoredLevel, factor: int, name: str
) -> Pixels:
    """Decode a tile as RGBX (height, width, 4), believing no pixel the decoder has doubts about.

    Nor one from a run of zeros, where the tile's tables allow none: many of those decode.

    Raises:
        SlideError: UNREADABLE_TILES.
    """
    if not opening.flat_is_zeros and stream.find(_ZEROS, len(opening.standalone)) >= 0:
        raise unreadable_tiles(name, "a run of zeros where the picture should be")

    size = stored.tile_height // factor, stored.tile_width // factor
    try:
        pixels = decode_jpeg(stream, "RGBX", least=size)
    except ValueError as error:
        raise unreadable_tiles(name, error) from error
    assert pixels.shape == (*size, 4)
    return pixels


def _paste(tile: Pixels, at: tuple[int, int], out: Pixels) -> None:
    """Copy the part of a tile that lies inside the picture."""
    x, y = at
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + tile.shape[1], out.shape[1]), min(y + tile.shape[0], out.shape[0])
    out[top:bottom, left:right] = tile[top - y : bottom - y, left - x : right - x]


class _Recent:
    """The tiles decoded last that are wanted again, up to so many bytes.

    One that a picture cuts through is wanted by the next picture too. One that lies inside a
    picture is not, unless pictures overlap: that shows when one is asked for again.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._lock = threading.Lock()
        self._tiles: OrderedDict[_Key, Pixels] = OrderedDict()
        self._bytes = 0
        self._gone: OrderedDict[_Key, None] = OrderedDict()
        self._overlap = False

    def get(self, key: _Key, make: Callable[[], Pixels], *, is_shared: bool) -> Pixels:
        """Return what is kept, or make it; two threads may make the same one at the same time."""
        with self._lock:
            found = self._tiles.get(key)
            if found is not None:
                self._tiles.move_to_end(key)
                return found
            is_kept = is_shared or self._overlaps(key)
        made = make()
        if is_kept:
            self._keep(key, made)
        return made

    def _overlaps(self, key: _Key) -> bool:
        """Say whether tiles are asked for again, as far as is known; note that this one is."""
        self._overlap |= key in self._gone
        if not self._overlap:
            self._gone[key] = None
            if len(self._gone) > _NOTED:
                self._gone.popitem(last=False)
        return self._overlap

    def _keep(self, key: _Key, made: Pixels) -> None:
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = made
                self._bytes += made.nbytes
            while self._bytes > self._most:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
