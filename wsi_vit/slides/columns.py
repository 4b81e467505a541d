"""Arrow columns laid over buffers: what makes them of Python objects imports pandas, a second."""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pyarrow

Joined = tuple[bytes | NDArray[np.uint8], NDArray[np.int64]]
"""Items one after the other, and where each ends."""


def joined(items: Sequence[bytes]) -> Joined:
    """Lay items one after the other."""
    return b"".join(items), np.cumsum([len(item) for item in items], dtype=np.int64)


def numbers(values: NDArray[Any], kind: str) -> "pyarrow.Array":
    """Return numbers; what is not a number is null."""
    return _laid(values, ~np.isnan(values), kind)


def integers(values: Sequence[int | None]) -> "pyarrow.Array":
    """Return whole numbers, or nulls."""
    known = [value is not None for value in values]
    return _laid(np.array([value or 0 for value in values], np.int64), known, "int64")


def items(packed: Joined, kind: "pyarrow.DataType") -> "pyarrow.Array":
    """Return bytes or strings, over the bytes as they lie in memory."""
    import pyarrow

    data, ends = packed
    buffers = [None, _offsets(ends), pyarrow.py_buffer(data)]
    return pyarrow.Array.from_buffers(kind, len(ends), buffers)


def pictures(packed: Joined, kind: "pyarrow.StructType") -> "pyarrow.Array":
    """Return pictures as Hugging Face `datasets` keeps them: encoded bytes beside no path."""
    import pyarrow

    data = items(packed, kind.field("bytes").type)
    paths = pyarrow.nulls(len(data), pyarrow.string())
    return pyarrow.StructArray.from_arrays([data, paths], fields=list(kind))


def pictures_or_nulls(values: Sequence[bytes | None]) -> "pyarrow.Array":
    """Return such pictures, null where there is none."""
    import pyarrow

    is_there = np.array([value is not None for value in values], np.bool_)
    data = items(joined([value or b"" for value in values]), pyarrow.binary())
    # No path where there is a picture; where there is none a path would be as empty as the rest.
    empty = [_bits(~is_there), _offsets(np.zeros(len(values), np.int64)), pyarrow.py_buffer(b"")]
    paths = pyarrow.Array.from_buffers(pyarrow.string(), len(values), empty)
    kind = pyarrow.struct([("bytes", data.type), ("path", paths.type)])
    return pyarrow.Array.from_buffers(kind, len(values), [_bits(is_there)], children=[data, paths])


def lists(values: Sequence[Sequence[int] | None]) -> "pyarrow.Array":
    """Return lists of whole numbers, or nulls."""
    import pyarrow

    valid = _bits([value is not None for value in values])
    ends = np.cumsum([len(value or ()) for value in values], dtype=np.int64)
    inner = integers(list(chain.from_iterable(value or () for value in values)))
    kind = pyarrow.list_(pyarrow.int64())
    return pyarrow.Array.from_buffers(kind, len(values), [valid, _offsets(ends)], children=[inner])


def _laid(values: NDArray[Any], is_known: ArrayLike, kind: str) -> "pyarrow.Array":
    import pyarrow

    data = pyarrow.py_buffer(np.ascontiguousarray(values, kind))
    return pyarrow.Array.from_buffers(
        pyarrow.type_for_alias(kind), len(values), [_bits(is_known), data]
    )


def _bits(is_known: ArrayLike) -> "pyarrow.Buffer | None":
    """Return which are not null, a bit each; nothing where all are known."""
    import pyarrow

    flags = np.asarray(is_known, np.bool_)
    return None if flags.all() else pyarrow.py_buffer(np.packbits(flags, bitorder="little"))


def _offsets(ends: NDArray[np.int64]) -> "pyarrow.Buffer":
    """Return where each item begins, and where the last ends."""
    import pyarrow

    return pyarrow.py_buffer(np.concatenate([[0], ends]).astype(np.int32))
