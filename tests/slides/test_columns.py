"""Columns laid over buffers are what Arrow makes of the same objects, to the last byte."""

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow
import pytest

from wsi_vit.slides import columns

PICTURE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def number(draw: random.Random) -> int:
    return draw.randrange(9)


def several(draw: random.Random) -> list[int]:
    return [draw.randrange(9) for _ in range(draw.randrange(4))]


def picture(draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(50))


def as_written(array: pyarrow.Array) -> bytes:
    sink, schema = pyarrow.BufferOutputStream(), pyarrow.schema([("column", array.type)])
    with pyarrow.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(pyarrow.RecordBatch.from_arrays([array], schema=schema))
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 300])
@pytest.mark.parametrize(
    ("lay", "kind", "one"),
    [
        (columns.integers, pyarrow.int64(), number),
        (columns.lists, pyarrow.list_(pyarrow.int64()), several),
        (columns.pictures_or_nulls, PICTURE, picture),
    ],
)
def test_a_column_is_written_as_arrow_writes_it(
    lay: Callable[[Sequence[Any]], pyarrow.Array],
    kind: pyarrow.DataType,
    one: Callable[[random.Random], Any],
    count: int,
    missing: float,
) -> None:
    draw = random.Random(count)
    values = [None if draw.random() < missing else one(draw) for _ in range(count)]
    rows = [{"bytes": v, "path": None} if isinstance(v, bytes) else v for v in values]
    laid = lay(values)
    laid.validate(full=True)
    assert laid.to_pylist() == rows
    assert as_written(laid) == as_written(pyarrow.array(rows, kind))


def test_laying_columns_does_not_import_pandas() -> None:
    """Half a second of every `wsi-vit tile` with annotations."""
    code = """
import sys
from wsi_vit.slides import columns
columns.integers([1, None]), columns.lists([[1], None]), columns.pictures_or_nulls([b"1", None])
print("pandas" in sys.modules)
import pyarrow
pyarrow.array([1, None])
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
