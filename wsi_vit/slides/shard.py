"""One slide's tiles as an Arrow IPC stream that `datasets` opens memory-mapped, without a copy."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsi_vit.section import Section
from wsi_vit.slides.quality.measures import TileMeasures

if TYPE_CHECKING:
    import pyarrow

StoreKind = Literal["pixels", "coordinates"]
"""What a shard of tiles keeps: their pictures, or only where they lie."""

ROWS_A_BATCH = 64
"""Rows gathered before they are written; at most this many encoded tiles are held."""

_VALUES = {
    "slide_id": "string",
    "x": "float64",
    "y": "float64",
    "mpp": "float64",
    "tissue": "float32",
    "quality": "float32",
    "blur": "float32",
    "pen": "float32",
    "dark": "float32",
    "glass": "float32",
}

_MAYBE = ("quality", "blur", "pen", "dark", "glass")
"""Columns that hold null where something was not measured."""

_SHARED = {"side": "float64", "tile_px": "int32", "level": "int32"}
"""Further columns of a shard of coordinates: without a picture, each row must say what it is."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How all tiles of a shard of coordinates are cut from their slide."""

    side: float
    """Side of a tile, in base pixels."""
    tile_px: int
    """Side of the picture it becomes."""
    level: int
    """The slide's level that its pixels come from, for other programs: ours reads by place."""


class TileRow(Section):
    """One tile of a shard."""

    image: bytes
    """Encoded JPEG; empty where only the place is kept."""
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
    blur: float | None = None
    """See `TileMeasures`, as the three that follow; None where it was not measured."""
    pen: float | None = None
    dark: float | None = None
    glass: float | None = None


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
    measures: TileMeasures


def shard_schema(store: StoreKind = "pixels") -> "pyarrow.Schema":
    """Return the columns, with the features written as Hugging Face `datasets` reads them."""
    import pyarrow

    values = _VALUES if store == "pixels" else _VALUES | _SHARED
    features: dict[str, Any] = {"image": {"_type": "Image"}} if store == "pixels" else {}
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in values.items()}
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    fields = [*([("image", image)] if store == "pixels" else []), *values.items()]
    return pyarrow.schema(
        [(name, pyarrow.type_for_alias(kind) if isinstance(kind, str) else kind)
         for name, kind in fields],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )  # fmt: skip


def write_shard(
    path: Path, pieces: Iterable[TileRow | PackedRows], *, places_only: Cut | None = None
) -> int:
    """Write rows as they come, batch by batch; return how many there were.

    Args:
        path: The file.
        pieces: Tiles, in their order.
        places_only: Makes it a shard of coordinates; pictures are left out.
    """
    import pyarrow

    schema = shard_schema("coordinates" if places_only else "pixels")
    shared = asdict(places_only) if places_only else {}
    written = 0
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        for piece in _gathered(pieces):
            columns = _packed(piece) if isinstance(piece, PackedRows) else _listed(piece)
            batch = _batch(schema, columns, shared)
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


Joined = tuple[bytes, NDArray[np.int32]]
"""Items one after the other, and where each ends."""


@dataclass(frozen=True, eq=False)
class _Columns:
    images: Joined
    slide_ids: list[str]
    numbers: Mapping[str, ArrayLike]


def _listed(rows: list[TileRow]) -> _Columns:
    numbers = {
        "x": [row.x for row in rows],
        "y": [row.y for row in rows],
        "mpp": [row.mpp for row in rows],
        "tissue": [row.tissue for row in rows],
        **{name: [_known(getattr(row, name)) for row in rows] for name in _MAYBE},
    }
    images = _joined([row.image for row in rows])
    return _Columns(images, [row.slide_id for row in rows], numbers)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _packed(rows: PackedRows) -> _Columns:
    """Return columns over the bytes as they lie in memory."""
    count = len(rows.ends)
    numbers = {
        "x": rows.x,
        "y": rows.y,
        "mpp": np.full(count, rows.mpp),
        "tissue": rows.tissue,
        "quality": np.full(count, np.nan),
        **rows.measures.columns(),
    }
    return _Columns((rows.images, rows.ends), [rows.slide_id] * count, numbers)


def _joined(items: list[bytes]) -> Joined:
    return b"".join(items), np.cumsum([len(item) for item in items]).astype(np.int32)


def _batch(
    schema: "pyarrow.Schema", columns: _Columns, shared: Mapping[str, float]
) -> "pyarrow.RecordBatch":
    """Lay columns over buffers: what makes them of Python objects imports pandas, a second."""
    import pyarrow

    count = len(columns.slide_ids)
    numbers = {**columns.numbers, **{name: np.full(count, value) for name, value in shared.items()}}
    kinds = _VALUES | _SHARED
    made = {name: _numbers(np.asarray(values), kinds[name]) for name, values in numbers.items()}
    made["slide_id"] = _items(_joined([n.encode() for n in columns.slide_ids]), pyarrow.string())
    if "image" in schema.names:
        made["image"] = _images(columns.images, schema.field("image").type)
    return pyarrow.RecordBatch.from_arrays([made[name] for name in schema.names], schema=schema)


def _images(images: Joined, kind: "pyarrow.StructType") -> "pyarrow.Array":
    import pyarrow

    data = _items(images, kind.field("bytes").type)
    paths = pyarrow.nulls(len(data), pyarrow.string())
    return pyarrow.StructArray.from_arrays([data, paths], fields=list(kind))


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
