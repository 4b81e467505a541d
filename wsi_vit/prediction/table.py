"""What the model said of each tile, as a Parquet table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.prediction.canvas import PlannedTile

UNREADABLE = "unreadable_tiles"
NO_TISSUE = "no_tissue"
"""Wanted because its overview could not be read; it turned out to lie beside the tissue."""


@dataclass(frozen=True, slots=True)
class TileRecord:
    """One planned tile and what came of it."""

    planned: PlannedTile
    scores: NDArray[np.float32] | None
    """(classes,): the mean over the tile; None where there is none, and `reason` says why."""
    reason: str | None = None
    anomaly: float | None = None
    """How unlike the training it is; None where no score was taken."""


def write_table(
    path: Path,
    records: Sequence[TileRecord],
    *,
    slide_id: str,
    mpp: float,
    labels: LabelMap,
    thresholds: Sequence[float] | None = None,
) -> None:
    """Write one row a tile, row-major; positions and sides in base pixels of the full plane.

    `class` is null and `score_...` are null where a tile was not predicted. There is a column
    `anomaly` where the model has an anomaly score. Where each of several labels has a threshold, a
    list `labels` of those that are present takes the place of `class`.
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {
        "slide_id": pa.array([slide_id] * len(records), pa.string()),
        "x": pa.array([r.planned.region.x for r in records], pa.float64()),
        "y": pa.array([r.planned.region.y for r in records], pa.float64()),
        "side_px": pa.array([r.planned.region.width for r in records], pa.float64()),
        "mpp": pa.array([mpp] * len(records), pa.float64()),
        "tissue": pa.array([r.planned.tissue for r in records], pa.float32()),
        **_said(records, labels, thresholds),
        "valid": pa.array([r.scores is not None for r in records], pa.bool_()),
        "reason": pa.array([r.reason for r in records], pa.string()),
    }
    for index, name in enumerate(labels.names):
        values = [None if r.scores is None else float(r.scores[index]) for r in records]
        columns[f"score_{name}"] = pa.array(values, pa.float32())
    if any(record.anomaly is not None for record in records):
        columns["anomaly"] = pa.array([record.anomaly for record in records], pa.float64())
    note = {
        "frame": "x, y, side_px: base pixels of the full level-0 plane",
        "mpp": "micrometres per pixel of the tile as the model saw it",
        "class_id": f"export id; {IGNORE_ID} never occurs",
    }
    parquet.write_table(pa.table(columns).replace_schema_metadata(note), path, compression="zstd")


def _said(
    records: Sequence[TileRecord], labels: LabelMap, thresholds: Sequence[float] | None
) -> dict[str, Any]:
    """Return the columns that say what each tile is, or which labels it shows."""
    import pyarrow as pa

    if thresholds is not None:
        shown = [labels_of(record, labels, thresholds) for record in records]
        return {"labels": pa.array(shown, pa.list_(pa.string()))}
    return {
        "class": pa.array([_class_name(r, labels) for r in records], pa.string()),
        "class_id": pa.array([_class_id(r, labels) for r in records], pa.uint8()),
    }


def labels_of(
    record: TileRecord, labels: LabelMap, thresholds: Sequence[float]
) -> list[str] | None:
    """Return the labels that a tile shows; None where it was not predicted."""
    if record.scores is None:
        return None
    called = record.scores >= np.asarray(thresholds)
    return [name for name, said in zip(labels.names, called, strict=True) if said]


def _best(record: TileRecord) -> int | None:
    return None if record.scores is None else int(record.scores.argmax())


def _class_name(record: TileRecord, labels: LabelMap) -> str | None:
    best = _best(record)
    return None if best is None else labels.names[best]


def _class_id(record: TileRecord, labels: LabelMap) -> int | None:
    best = _best(record)
    return None if best is None else labels.export_ids[best]
