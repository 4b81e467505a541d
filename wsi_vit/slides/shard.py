"""One slide's tiles as an Arrow IPC stream that `datasets` opens memory-mapped, without a copy."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsi_vit.slides import columns
from wsi_vit.slides.quality.measures import TileMeasures
from wsi_vit.slides.reservation import give_back, reserve

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRow:
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

    images: bytes | NDArray[np.uint8]
    """Encoded JPEG, one after the other."""
    ends: NDArray[np.int64]
    """Where each image ends."""
    rest: "pyarrow.RecordBatch"
    """All columns but the pictures, see `undecoded`."""


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
    path: Path,
    pieces: Iterable[TileRow | PackedRows],
    *,
    places_only: Cut | None = None,
    expected_bytes: int = 0,
) -> int:
    """Write rows as they come, batch by batch; return how many there were.

    Args:
        path: The file.
        pieces: Tiles, in their order.
        places_only: Makes it a shard of coordinates; pictures are left out.
        expected_bytes: About how many bytes the file will have, where that is known.
    """
    import pyarrow

    schema = shard_schema("coordinates" if places_only else "pixels")
    shared = asdict(places_only) if places_only else {}
    written = 0
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        reserve(path, expected_bytes)
        for piece in _gathered(pieces):
            is_packed = isinstance(piece, PackedRows)
            batch = _whole(schema, piece) if is_packed else _listed(schema, piece, shared)
            stream.write_batch(batch)
            written += batch.num_rows
            del piece, batch  # the next takes their memory, which caches still hold
    if expected_bytes > path.stat().st_size:
        give_back(path)
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
        del piece  # nor is it held here
    if rows:
        yield rows


def undecoded(
    slide_id: str,
    *,
    corners: NDArray[np.float64],
    mpp: float,
    tissue: NDArray[np.float32],
    measures: TileMeasures,
) -> "pyarrow.RecordBatch":
    """Lay out all columns but the pictures of tiles that are never decoded.

    Args:
        slide_id: Of all of them.
        corners: Their left and their top edges in base pixels, (2, n).
        mpp: Of all of them.
        tissue: Share of each that is tissue.
        measures: Of each. Sharpness is null: who does not decode does not know it.
    """
    schema, name = shard_schema(), slide_id.encode()
    values = schema.remove(schema.get_field_index("image"))
    count = len(tissue)
    numbers = {
        "x": corners[0],
        "y": corners[1],
        "mpp": np.full(count, mpp),
        "tissue": tissue,
        "quality": np.full(count, np.nan),
        **measures.columns(),
    }
    ids = name * count, len(name) * np.arange(1, count + 1)
    return _columns(values, numbers, slide_ids=ids)


def _whole(schema: "pyarrow.Schema", rows: PackedRows) -> "pyarrow.RecordBatch":
    """Lay pictures beside the other columns, over the bytes as they lie in memory."""
    field = schema.field("image")
    images = columns.pictures((rows.images, rows.ends), field.type)
    return rows.rest.add_column(schema.get_field_index("image"), field, images)


def _listed(
    schema: "pyarrow.Schema", rows: list[TileRow], shared: Mapping[str, float]
) -> "pyarrow.RecordBatch":
    numbers = {
        "x": [row.x for row in rows],
        "y": [row.y for row in rows],
        "mpp": [row.mpp for row in rows],
        "tissue": [row.tissue for row in rows],
        **{name: [_known(getattr(row, name)) for row in rows] for name in _MAYBE},
        **{name: np.full(len(rows), value) for name, value in shared.items()},
    }
    ids = columns.joined([row.slide_id.encode() for row in rows])
    images = columns.joined([row.image for row in rows])
    return _columns(schema, numbers, slide_ids=ids, images=images)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _columns(
    schema: "pyarrow.Schema",
    numbers: Mapping[str, ArrayLike],
    *,
    slide_ids: columns.Joined,
    images: columns.Joined | None = None,
) -> "pyarrow.RecordBatch":
    import pyarrow

    kinds = _VALUES | _SHARED
    made = {
        name: columns.numbers(np.asarray(values), kinds[name]) for name, values in numbers.items()
    }
    made["slide_id"] = columns.items(slide_ids, pyarrow.string())
    if images is not None and "image" in schema.names:
        made["image"] = columns.pictures(images, schema.field("image").type)
    return pyarrow.RecordBatch.from_arrays([made[name] for name in schema.names], schema=schema)
