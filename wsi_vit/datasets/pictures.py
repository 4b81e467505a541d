"""The pictures of stored rows, wherever they lie: in shards, or in the slides themselves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsi_vit.datasets.decoding import decode_images
from wsi_vit.datasets.shards import open_stream
from wsi_vit.datasets.slide_pictures import SlidePictures

Picture = NDArray[np.uint8]


class Pictures(Protocol):
    """The pictures of all rows of a dataset."""

    def read(self, rows: Sequence[int], names: Sequence[str]) -> list[Picture]:
        """Return the pictures of rows, RGB (h, w, 3), in this order; names are for errors.

        Raises:
            DatasetError: One cannot be read; it is named.
        """
        ...

    def encoded(self, row: int, name: str) -> bytes:
        """Return one picture as an image file.

        Raises:
            DatasetError: It cannot be read.
        """
        ...


class EncodedColumn:
    """Random access to the encoded bytes of an image column spread over many streams."""

    def __init__(self, tables: Sequence[pa.Table], column: str) -> None:
        chunks = [chunk for table in tables for chunk in table[column].chunks]
        self._chunks = [chunk.field("bytes") for chunk in chunks]
        self._ends = np.cumsum([len(chunk) for chunk in self._chunks])

    def __getitem__(self, row: int) -> memoryview:
        index = int(np.searchsorted(self._ends, row, side="right"))
        chunk = self._chunks[index]
        buffer = chunk[row - int(self._ends[index]) + len(chunk)].as_buffer()
        return memoryview(buffer).cast("B")  # Arrow calls its bytes signed; decoders refuse that


class StoredPictures:
    """Pictures that lie in memory-mapped shards; only what is decoded is copied."""

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        self._column = EncodedColumn(tables, "image")

    def read(self, rows: Sequence[int], names: Sequence[str]) -> list[Picture]:
        """Return the pictures of rows, RGB (h, w, 3), in this order; names are for errors.

        Raises:
            DatasetError: One cannot be decoded; it is named.
        """
        return decode_images([self._column[row] for row in rows], names)

    def encoded(self, row: int, name: str) -> bytes:  # noqa: ARG002  (the slides' need it)
        """Return the stored bytes of a picture, as the scanner or the tiler encoded them."""
        return bytes(self._column[row])


def open_pictures(shards: Sequence[Path]) -> Pictures:
    """Open the pictures of the shards of a dataset.

    Raises:
        DatasetError: A shard is missing or damaged, or slides are not where they were.
    """
    tables = [open_stream(path) for path in shards]
    if all("image" in table.column_names for table in tables):
        return StoredPictures(tables)
    return SlidePictures(shards)
