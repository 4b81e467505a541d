"""What the examples of a shard are labelled with: read once, counted, never rewritten."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsi_vit.datasets.decoding import decode_mask
from wsi_vit.datasets.example import Task
from wsi_vit.datasets.shards import PRESENT, UNKNOWN
from wsi_vit.errors import DatasetError
from wsi_vit.labels import IGNORE_ID, LabelMap

_COLUMNS: dict[Task, str] = {"segmentation": "mask", "multi_label": PRESENT}
"""The column that says what a row shows; `label` for the other tasks."""


def count_targets(table: pa.Table, labels: LabelMap, task: Task) -> NDArray[np.int64]:
    """Return how much of each class each row holds, shape (rows, classes + 1).

    A row of a class counts 1 there; a mask counts its pixels, ignored ones in the last column. Of
    several labels each that is present counts 1, and the last column counts those that are not
    known. Unlabelled rows are all 0, or of several labels have none that is known.

    Raises:
        DatasetError: The shard has no such column, or ids that the label map does not have.
    """
    column = _COLUMNS.get(task, "label")
    if column not in table.column_names:
        raise DatasetError(
            f"A shard of labels has no column {column!r}",
            got=", ".join(table.column_names),
            remedy=f"Label the tiles for {task}",
        )
    if task == "multi_label":
        shown = presence_of(table, labels)
        return np.column_stack([shown == 1, (shown == IGNORE_ID).sum(axis=1)]).astype(np.int64)
    counts = np.zeros((len(table), len(labels) + 1), np.int64)
    if task != "segmentation":
        ids = table[column].fill_null(-1).to_numpy()
        _refuse_strays(ids[ids >= len(labels)], labels)
        counts[np.flatnonzero(ids >= 0), ids[ids >= 0]] = 1
        return counts
    for row, data in enumerate(encoded_images(table, column)):
        if data is not None:
            counts[row] = _histogram(decode_mask(data, name=f"row {row}"), labels)
    return counts


def presence_of(table: pa.Table, labels: LabelMap) -> NDArray[np.uint8]:
    """Return which labels each row shows: 1 present, 0 absent, 255 not known, (rows, labels).

    Raises:
        DatasetError: It holds ids that the label map does not have.
    """
    shown = np.zeros((len(table), len(labels)), np.uint8)
    for column, value in ((PRESENT, 1), (UNKNOWN, IGNORE_ID)):
        lists = table[column].combine_chunks()
        ids = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        _refuse_strays(ids[ids >= len(labels)], labels)
        rows = np.repeat(np.arange(len(table)), lists.value_lengths().fill_null(0).to_numpy())
        shown[rows, ids] = value
    shown[table[PRESENT].is_null().to_numpy()] = IGNORE_ID
    return shown


def is_labelled(counts: NDArray[np.int64], task: Task) -> NDArray[np.bool_]:
    """Return which rows can be learnt from, (rows,), from what `count_targets` counted."""
    if task == "multi_label":
        return counts[:, -1] < counts.shape[1] - 1
    return counts[:, :-1].sum(axis=1) > 0


def encoded_images(table: pa.Table, column: str) -> Iterator[pa.Buffer | None]:
    """Yield the encoded bytes of each row of an image column without copying them."""
    for chunk in table[column].chunks:
        data, absent = chunk.field("bytes"), chunk.is_null()
        for row in range(len(chunk)):
            value = data[row]
            yield None if absent[row].as_py() or not value.is_valid else value.as_buffer()


def _histogram(mask: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.int64]:
    found = np.bincount(mask.ravel(), minlength=256)
    strays = np.flatnonzero(found[:IGNORE_ID]) >= len(labels)
    _refuse_strays(np.flatnonzero(found[:IGNORE_ID])[strays], labels)
    return np.append(found[: len(labels)], found[IGNORE_ID])


def _refuse_strays(ids: NDArray[np.integer], labels: LabelMap) -> None:
    if len(ids):
        raise DatasetError(
            "Labels hold ids that the label map does not have",
            got=", ".join(str(stray) for stray in np.unique(ids)[:8]),
            known=[f"{index} {name}" for index, name in enumerate(labels.names)],
            remedy="Label the tiles again with this label map",
        )


def slide_label(word: str | None, labels: LabelMap) -> int | None:
    """Return the training id of a slide's own label, None where it has none.

    Raises:
        DatasetError: The label map does not gather this word.
    """
    if word is None:
        return None
    found = labels.id_of_source(word)
    if found is None:
        found = next((i for i, name in enumerate(labels.names) if name == word), None)
    if found is None:
        raise DatasetError(
            "The cohort's label column names a class that the label map does not gather",
            got=word,
            known=_sources(labels),
            remedy="Mend the cohort, or add the word to the `source` of a class",
        )
    return found


def _sources(labels: LabelMap) -> Sequence[str]:
    return [str(source) for item in labels.classes for source in item.sources]
