"""Shards on disk: Arrow IPC streams with the features of `datasets` in their schema.

The stream format (not the file format) is what `datasets` memory-maps. Image and mask columns hold
the encoded bytes, so writing a shard encodes nothing and reading one copies nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wsi_vit.datasets.example import Task
from wsi_vit.errors import DatasetError
from wsi_vit.labels import LabelMap
from wsi_vit.slides.shard import StoreKind, shard_schema

if TYPE_CHECKING:
    from datasets import Features

ROWS_A_BATCH = 256
"""Rows a record batch: a random read touches one."""

PRESENT, UNKNOWN = "labels", "unknown"
"""The columns of several labels a row: ids of what is present, and of what is not known."""


def pixel_features() -> "Features":
    """Return the columns of a shard of pixels, the same for tiles and for image files."""
    from datasets import Features, Image, Value

    return Features(
        {
            "image": Image(),
            "slide_id": Value("string"),
            "x": Value("float64"),
            "y": Value("float64"),
            "mpp": Value("float64"),
            "tissue": Value("float32"),
            "quality": Value("float32"),
            "blur": Value("float32"),
            "pen": Value("float32"),
            "dark": Value("float32"),
            "glass": Value("float32"),
        }
    )


def tile_features(store: StoreKind) -> "Features":
    """Return the columns of a shard of tiles of a kind, as the slides room writes it."""
    from datasets import Features

    return Features.from_arrow_schema(shard_schema(store))


def target_features(labels: LabelMap, task: Task) -> "Features":
    """Return the columns of a shard of targets, null where a row is unlabelled.

    Of masks a PNG of training ids. Of several labels the list of those that are present, as
    `datasets` has it (`List(ClassLabel)`), and the list of those that are not known: what is in
    neither is absent. Else one training id.
    """
    from datasets import ClassLabel, Features, Image, List

    one = ClassLabel(names=list(labels.names))
    if task == "segmentation":
        return Features({"mask": Image()})
    if task == "multi_label":
        return Features({PRESENT: List(one), UNKNOWN: List(one)})
    return Features({"label": one})


def encoded(data: bytes | None) -> dict[str, bytes | None] | None:
    """Return encoded image bytes as the `Image` feature stores them; None stays None."""
    return None if data is None else {"bytes": data, "path": None}


def write_stream(path: Path, features: "Features", batches: Iterable[Mapping[str, Any]]) -> int:
    """Write columns, batch by batch, to an Arrow stream; return how many rows there were."""
    schema, rows = features.arrow_schema, 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for columns in batches:
            batch = pa.RecordBatch.from_pydict(dict(columns), schema=schema)
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def in_batches(rows: Sequence[Any], size: int = ROWS_A_BATCH) -> Iterable[Sequence[Any]]:
    """Yield consecutive slices of at most `size` rows."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def open_stream(path: Path) -> pa.Table:
    """Memory-map an Arrow stream; nothing is read until it is asked for.

    Raises:
        DatasetError: The file is missing or is no Arrow stream.
    """
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_stream(source).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(
            f"A shard cannot be read: {str(error).splitlines()[0]}",
            got=path,
            remedy="Run `wsi-vit verify` on the store; delete the shard's folder and tile again",
        ) from error
