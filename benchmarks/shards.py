"""What tiles are best kept in: a memory-mapped Arrow stream, or Parquet with small row groups.

    python -m benchmarks.shards [--quick] [--json]

The same encoded tiles (256 px of synthetic colon, JPEG quality 80, 4:2:0) are written once as our
shards are and once as uncompressed Parquet with 1, 16 and 100 rows a group, and read again from
warm caches in interleaved rounds on one core; medians. For each: seconds to write (to the disk,
fsync included), MB, and reads/s of the pictures' bytes and of decoded pictures (simplejpeg), at
random and in sequence. Random reads of Parquet read the row's group of the one column and keep the
file open, sequential ones go through `iter_batches`; who reads Arrow touches only the row.

`random_vs_parquet_N`, `decoded_vs_parquet_N`: Arrow's random reads/s over those of Parquet with N
rows a group, bytes alone and decoded. As long as they exceed 1, shards are Arrow and Parquet is for
export.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from benchmarks.metrics import interleaved, ratio
from benchmarks.telling import options, tell
from benchmarks.tiling_slide import MOSAIC_PX, QUALITY, TILE, tissue_square
from wsi_vit.datasets.pictures import EncodedColumn
from wsi_vit.datasets.shards import open_stream
from wsi_vit.slides.shard import TileRow, shard_schema, write_shard

GROUPS = (1, 16, 100)


class Kept(Protocol):
    """Tiles in a file."""

    def at(self, row: int) -> Any:
        """Return the bytes of one picture."""
        ...

    def each(self) -> Iterator[Any]:
        """Yield the bytes of all pictures, in order."""
        ...


class Arrow:
    """Our shard."""

    def __init__(self, path: Path) -> None:
        self._table = open_stream(path)
        self._column = EncodedColumn([self._table], "image")

    def at(self, row: int) -> Any:
        """Return the bytes of one picture."""
        return self._column[row]

    def each(self) -> Iterator[Any]:
        """Yield the bytes of all pictures, in order."""
        return (self._column[row] for row in range(len(self._table)))


class Parquet:
    """The same table as Parquet."""

    def __init__(self, path: Path, group: int) -> None:
        self._file, self._group = pq.ParquetFile(path, memory_map=True), group

    def at(self, row: int) -> Any:
        """Return the bytes of one picture."""
        column = self._file.read_row_group(row // self._group, columns=["image"])["image"]
        return _unsigned(column.chunk(0).field("bytes")[row % self._group])

    def each(self) -> Iterator[Any]:
        """Yield the bytes of all pictures, in order."""
        for batch in self._file.iter_batches(batch_size=self._group, columns=["image"]):
            pictures = batch["image"].field("bytes")
            yield from (_unsigned(pictures[row]) for row in range(len(pictures)))


def _unsigned(data: Any) -> memoryview:
    """Return bytes as decoders take them: Arrow calls its own signed."""
    return memoryview(data.as_buffer()).cast("B")


def tiles(count: int) -> list[TileRow]:
    """Return rows as the tiler makes them."""
    picture = tissue_square()
    across = MOSAIC_PX // TILE
    rows: list[TileRow] = []
    for number in range(count):
        y, x = divmod(number % across**2, across)
        part = picture[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE]
        stream = simplejpeg.encode_jpeg(np.ascontiguousarray(part), QUALITY, colorsubsampling="420")
        rows.append(
            TileRow(
                image=stream,
                slide_id="synthetic",
                x=float(x * TILE),
                y=float(y * TILE),
                mpp=0.25,
                tissue=1.0,
                quality=None,
            )
        )
    return rows


def write_parquet(path: Path, rows: Sequence[TileRow], group: int) -> None:
    """Write the same columns with so many rows a group."""
    schema = shard_schema()
    columns = {
        name: [{"bytes": row.image, "path": None} if name == "image" else getattr(row, name)
               for row in rows]
        for name in schema.names
    }  # fmt: skip
    table = pa.Table.from_pydict(columns, schema=schema)
    pq.write_table(table, path, row_group_size=group, compression="none", use_dictionary=False)


def written(path: Path, write: Callable[[], object]) -> dict[str, float]:
    """Return how long it takes until the file is on the disk, and how large it is."""
    began = time.perf_counter()
    write()
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    seconds = time.perf_counter() - began
    return {"write_s": round(seconds, 3), "mb": round(path.stat().st_size / 1e6, 2)}


def measure(*, quick: bool) -> dict[str, Any]:
    """Write all, read all in rounds."""
    rows = tiles(256 if quick else 4_096)
    result: dict[str, Any] = {"tiles": len(rows)}
    with tempfile.TemporaryDirectory() as name:
        root, kept = Path(name), dict[str, Kept]()
        facts = {"arrow": written(root / "a.arrow", lambda: write_shard(root / "a.arrow", rows))}
        kept["arrow"] = Arrow(root / "a.arrow")
        for group in GROUPS:
            path = root / f"{group}.parquet"
            facts[f"parquet_{group}"] = written(
                path, lambda path=path, group=group: write_parquet(path, rows, group)
            )
            kept[f"parquet_{group}"] = Parquet(path, group)
        for kind, found in facts.items():
            result |= {f"{kind}_{key}": value for key, value in found.items()}
        result |= read(kept, rows, quick=quick)
    return result


def read(kept: dict[str, Kept], rows: Sequence[TileRow], *, quick: bool) -> dict[str, Any]:
    """Time the reads of everybody on the same rows."""
    order = np.random.default_rng(0).permutation(len(rows))[: 128 if quick else 1_000].tolist()
    for file in kept.values():
        assert [bytes(file.at(row)) for row in order[:8]] == [rows[r].image for r in order[:8]]
    jobs: dict[str, Callable[[], object]] = {}
    for kind, file in kept.items():
        jobs[f"{kind}_random"] = lambda file=file: [len(file.at(row)) for row in order]
        jobs[f"{kind}_decoded"] = lambda file=file: [
            simplejpeg.decode_jpeg(file.at(row)).shape for row in order
        ]
        jobs[f"{kind}_sequence"] = lambda file=file: [len(data) for data in file.each()]
    times = interleaved(jobs, rounds=3 if quick else 11)
    counts = {"sequence": len(rows)}
    result: dict[str, Any] = {
        f"{job}_per_s": round(counts.get(job.rpartition("_")[2], len(order)) / statistics.median(t))
        for job, t in times.items()
    }
    for group in GROUPS:
        for what in ("random", "decoded"):
            found = ratio(times[f"parquet_{group}_{what}"], times[f"arrow_{what}"])
            result[f"{what}_vs_parquet_{group}"] = found
    return result


def main() -> None:
    """Measure, print, and keep the result of a full run."""
    asked = options(__doc__, quick="the same keys in seconds").parse_args()
    tell("shards", measure(quick=asked.quick), asked, also=f"pyarrow {pa.__version__}")


if __name__ == "__main__":
    main()
