"""The files of a dataset folder: three tables of the same rows, their shards named by reference.

`load_from_disk` stacks the shards that a `state.json` names, but joins no columns. So pixels,
labels and sidecar are one folder each: `.`, `labels/`, `sidecar/`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_vit.datasets.plan import Plan
from wsi_vit.datasets.shards import (
    in_batches,
    open_stream,
    pixel_features,
    target_features,
    tile_features,
    write_stream,
)

if TYPE_CHECKING:
    from datasets import Features

LABELS_FOLDER, SIDECAR_FOLDER, SIDECAR = "labels", "sidecar", "sidecar.arrow"
STATE = "state.json"


def label_streams(plan: Plan, folder: Path) -> list[Path]:
    """Return the stream of labels of each shard, writing those that only the cohort gives."""
    (folder / LABELS_FOLDER).mkdir(parents=True)
    return [
        shard.labels.folder / "labels.arrow"
        if shard.labels
        else _own_labels(plan, folder / LABELS_FOLDER, index)
        for index, shard in enumerate(plan.shards)
    ]


def write_layout(
    plan: Plan, streams: Sequence[Path], folder: Path, *, columns: Mapping[str, Sequence[Any]]
) -> None:
    """Write the three tables; `columns` are those of the sidecar. No pixel is copied."""
    (folder / SIDECAR_FOLDER).mkdir()
    rows = list(zip(*columns.values(), strict=True))
    batches = (
        dict(zip(columns, zip(*batch, strict=True), strict=True))
        for batch in in_batches(rows, 4096)
    )
    write_stream(folder / SIDECAR_FOLDER / SIDECAR, sidecar_features(columns), batches)
    pixels = [shard.path for shard in plan.shards]
    _write_state(plan, folder, "", pixels, picture_features(plan))
    _write_state(plan, folder, LABELS_FOLDER, streams, target_features(plan.labels, plan.task))
    sidecar = [folder / SIDECAR_FOLDER / SIDECAR]
    _write_state(plan, folder, SIDECAR_FOLDER, sidecar, sidecar_features(columns))


def picture_features(plan: Plan) -> "Features":
    """Return the columns of the pictures' table, or of where they lie."""
    return tile_features("coordinates") if plan.has_places_only else pixel_features()


def sidecar_features(columns: Mapping[str, Sequence[Any]]) -> "Features":
    """Return the columns of the sidecar: text, and `counts` as a list of integers."""
    from datasets import Features, List, Value

    return Features(
        {name: List(Value("int64")) if name == "counts" else Value("string") for name in columns}
    )


def shard_paths(folder: Path) -> list[Path]:
    """Return the streams that a folder's `state.json` names."""
    state = json.loads((folder / STATE).read_text())
    return [folder / item["filename"] for item in state["_data_files"]]


def _own_labels(plan: Plan, folder: Path, index: int) -> Path:
    shard, path = plan.shards[index], folder / f"{index:06}.arrow"
    rows, features = len(open_stream(shard.path)), target_features(plan.labels, plan.task)
    own = {"label": shard.own}
    write_stream(path, features, [{name: [own.get(name)] * rows for name in features}])
    return path


def _write_state(
    plan: Plan, folder: Path, below: str, streams: Sequence[Path], features: "Features"
) -> None:
    from datasets import DatasetInfo

    final = plan.store.folder_of(plan.shape).resolve()
    state = {
        "_data_files": [{"filename": _relative(path, folder, final, below)} for path in streams],
        "_fingerprint": plan.shape.name,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / below / STATE).write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")
    DatasetInfo(features=features).write_to_directory(str(folder / below))


def _relative(path: Path, scratch: Path, final: Path, below: str) -> str:
    """Return a stream's place as seen from where the dataset will lie, not from the scratch."""
    if path.is_relative_to(scratch):
        path = final / path.relative_to(scratch)
    return Path(os.path.relpath(path.resolve(), final / below)).as_posix()
