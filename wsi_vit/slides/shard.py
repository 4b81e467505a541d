"""One slide's tiles as an Arrow IPC stream that `datasets` opens memory-mapped, without a copy."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsi_vit.section import Section

if TYPE_CHECKING:
    import pyarrow

ROWS_A_BATCH = 64
"""Rows gathered before they are written; at most this many encoded tiles are held."""

_VALUES = {
    "slide_id": "string",
    "x": "float64",
    "y": "float64",
    "mpp": "float64",
    "tissue": "float32",
    "quality": "float32",
}


class TileRow(Section):
    """One tile of a shard."""

    image: bytes
    """Encoded JPEG."""
    slide_id: str
    x: float
    """Left edge, in base pixels."""
    y: float
    """Top edge, in base pixels."""
    mpp: float
    """Effective micrometres per pixel of the image."""
    tissue: float
    """Share of the tile that is tissue."""
    quality: float | None
    """Sharpness, see `quality.sharpness`; None where the tile was never decoded."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedRows:
    """Tiles that were never decoded, as the columns they are written in: no object a tile."""

    images: bytes
    """Encoded JPEG, one after the other."""
    ends: NDArray[np.int32]
    """Where each image ends."""
    slide_id: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    mpp: float
    tissue: NDArray[np.float32]


def shard_schema() -> "pyarrow.Schema":
    """Return the columns, with the features written as Hugging Face `datasets` reads them."""
    import pyarrow

    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in _VALUES.items()}
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    fields = [("image", image), *_VALUES.items()]
    return pyarrow.schema(
        [(name, pyarrow.type_for_alias(kind) if isinstance(kind, str) else kind)
         for name, kind in fields],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )  # fmt: skip


def write_shard(path: Path, pieces: Iterable[TileRow | PackedRows]) -> int:
    """Write rows as they come, batch by batch; return how many there were."""
    import pyarrow

    schema = shard_schema()
    written = 0
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        for piece in _gathered(pieces):
            make = _packed_batch if isinstance(piece, PackedRows) else _record_batch
            batch = make(piece, schema)  # type: ignore[arg-type]
            stream.write_batch(batch)
            written += batch.num_rows
    return written


def _gathered(pieces: Iterable[TileRow | PackedRows]) -> Iterator[list[TileRow] | PackedRows]:
    """Gather single rows; what is packed goes through as it is. The order stays."""
    rows: list[TileRow] = []
    for piece in pieces:
        if isinstance(piece, TileRow):
            rows.append(piece)
        if rows and (isinstance(piece, PackedRows) or len(rows) == ROWS_A_BATCH):
            yield rows
            rows = []
        if isinstance(piece, PackedRows):
            yield piece
    if rows:
        yield rows


def _record_batch(rows: list[TileRow], schema: "pyarrow.Schema") -> "pyarrow.RecordBatch":
    numbers = {
        "x": [row.x for row in rows],
        "y": [row.y for row in rows],
        "mpp": [row.mpp for row in rows],
        "tissue": [row.tissue for row in rows],
        "quality": [np.nan if row.quality is None else row.quality for row in rows],
    }
    images = [row.image for row in rows]
    return _batch(schema, _joined(images), [row.slide_id for row in rows], numbers)


def _packed_batch(rows: PackedRows, schema: "pyarrow.Schema") -> "pyarrow.RecordBatch":
    """Return a batch over the bytes as they lie in memory."""
    count = len(rows.ends)
    numbers = {
        "x": rows.x,
        "y": rows.y,
        "mpp": np.full(count, rows.mpp),
        "tissue": rows.tissue,
        "quality": np.full(count, np.nan),
    }
    return _batch(schema, (rows.images, rows.ends), [rows.slide_id] * count, numbers)


Joined = tuple[bytes, NDArray[np.int32]]
"""Items one after the other, and where each ends."""


def _joined(items: list[bytes]) -> Joined:
    return b"".join(items), np.cumsum([len(item) for item in items]).astype(np.int32)


def _batch(
    schema: "pyarrow.Schema",
    images: Joined,
    slide_ids: list[str],
    numbers: Mapping[str, ArrayLike],
) -> "pyarrow.RecordBatch":
    """Lay columns over buffers: what makes them of Python objects imports pandas, a second."""
    import pyarrow

    struct = schema.field("image").type
    paths = pyarrow.nulls(len(slide_ids), pyarrow.string())
    columns = {
        "image": pyarrow.StructArray.from_arrays(
            [_items(images, struct.field("bytes").type), paths], fields=list(struct)
        ),
        "slide_id": _items(_joined([name.encode() for name in slide_ids]), pyarrow.string()),
        **{name: _numbers(np.asarray(values), _VALUES[name]) for name, values in numbers.items()},
    }
    return pyarrow.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _items(items: Joined, kind: "pyarrow.DataType") -> "pyarrow.Array":
    import pyarrow

    data, ends = items
    offsets = pyarrow.py_buffer(np.concatenate([[0], ends]).astype(np.int32))
    return pyarrow.Array.from_buffers(kind, len(ends), [None, offsets, pyarrow.py_buffer(data)])


def _numbers(values: NDArray[Any], kind: str) -> "pyarrow.Array":
    """Return numbers; what is not a number is null."""
    import pyarrow

    is_known = ~np.isnan(values)
    bits = None if is_known.all() else np.packbits(is_known, bitorder="little")
    return pyarrow.Array.from_buffers(
        pyarrow.type_for_alias(kind),
        len(values),
        [None if bits is None else pyarrow.py_buffer(bits),
         pyarrow.py_buffer(np.ascontiguousarray(values, kind))],
    )  # fmt: skip
