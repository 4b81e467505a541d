"""One slide's tiles as an Arrow IPC stream that `datasets` opens memory-mapped, without a copy."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    quality: float
    """Sharpness, see `quality.sharpness`."""


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


def write_shard(path: Path, rows: Iterable[TileRow]) -> int:
    """Write rows as they come, batch by batch; return how many there were."""
    import pyarrow

    schema = shard_schema()
    written = 0
    batch: list[TileRow] = []
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        for row in rows:
            batch.append(row)
            if len(batch) == ROWS_A_BATCH:
                stream.write_batch(_record_batch(batch, schema))
                written += len(batch)
                batch = []
        if batch:
            stream.write_batch(_record_batch(batch, schema))
    return written + len(batch)


def _record_batch(rows: list[TileRow], schema: "pyarrow.Schema") -> "pyarrow.RecordBatch":
    import pyarrow

    columns: dict[str, list[Any]] = {
        "image": [{"bytes": row.image, "path": None} for row in rows],
        **{name: [getattr(row, name) for row in rows] for name in _VALUES},
    }
    return pyarrow.RecordBatch.from_pydict(columns, schema=schema)
