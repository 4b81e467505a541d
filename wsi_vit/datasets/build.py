"""Shards -> one dataset with frozen splits, without copying a pixel.

The artefact (stage `dataset`) names its shards by relative paths. `load_from_disk` stacks rows but
cannot join columns, so there are three tables with the same rows: pixels and coordinates (the
folder itself), `labels/`, and `sidecar/` (patient, site, split). Each opens on its own;
`open_dataset`, or `concatenate_datasets(..., axis=1)`, joins them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wsi_vit.cohort import CohortRow
from wsi_vit.datasets.card import card_text
from wsi_vit.datasets.example import Task
from wsi_vit.datasets.image_shards import store_shards
from wsi_vit.datasets.images import ImageSource, SourceImage
from wsi_vit.datasets.layout import label_streams, write_layout
from wsi_vit.datasets.plan import Plan, Shard
from wsi_vit.datasets.regions import place_regions
from wsi_vit.datasets.shards import open_stream
from wsi_vit.datasets.splits import (
    AnySplit,
    Placement,
    RegionSplit,
    Rows,
    assert_disjoint,
    place,
)
from wsi_vit.datasets.stains import stain_warnings, write_stains
from wsi_vit.datasets.summary import summarise
from wsi_vit.datasets.targets import count_targets, slide_label
from wsi_vit.errors import DatasetError
from wsi_vit.labels import LabelMap
from wsi_vit.store import Artefact, Store, canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideShards:
    """A slide of the cohort with its shards."""

    row: CohortRow
    tiles: Artefact
    """Stage `tiles`."""
    tile_labels: Artefact | None = None
    """Stage `tile-labels`; absent: the row's own label holds for all its tiles."""
    stain: Artefact | None = None
    """Stage `stain`; absent: tiles are read as they are stored."""


def build_from_shards(
    shards: Sequence[SlideShards],
    *,
    labels: LabelMap,
    task: Task,
    split: AnySplit,
    name: str,
    store: Store,
) -> Artefact:
    """Return the dataset (stage `dataset`) of tiled and labelled slides.

    Slides are put in the order of their ids, so the order of the cohort decides nothing.

    Raises:
        DatasetError: There is nothing to learn from, or it cannot be split as asked.
    """
    ordered = sorted(shards, key=lambda item: item.row.slide_id)
    plan = Plan(
        name=name,
        shards=tuple(_slide_shard(item, labels, task) for item in ordered),
        labels=labels,
        task=task,
        split=split,
        patients_known=any(item.row.patient != item.row.slide_id for item in shards),
        store=store,
    )
    return _ensured(plan)


def build_from_images(
    source: ImageSource,
    *,
    labels: LabelMap,
    task: Task,
    split: AnySplit,
    name: str,
    store: Store,
) -> Artefact:
    """Return the dataset (stage `dataset`) of a source of images.

    Raises:
        DatasetError: Files that cannot be used, all at once; or it cannot be split as asked.
        LabelError: The label map does not fit the source's name list.
    """
    _refuse_senseless(source, task, split)
    stored = store_shards(source, labels=labels, task=task, store=store)
    shard = Shard(
        name="images",
        pixels=stored.pixels,
        pixels_file="images.arrow",
        labels=stored.labels,
        facts=_image_facts(stored.images),
    )
    told = ("found", "dropped", "gathered", "elsewhere")
    plan = Plan(
        name=name,
        shards=(shard,),
        labels=labels,
        task=task,
        split=split,
        patients_known=source.patients_known,
        unit=source.units,
        store=store,
        told={key: stored.labels.facts[key] for key in told},
    )
    return _ensured(plan)


def _refuse_senseless(source: ImageSource, task: Task, split: AnySplit) -> None:
    faults = source.unfit(task)
    if isinstance(split, RegionSplit):
        faults.append("single images have no place on a slide, so no `kind: regions`")
    if faults:
        raise DatasetError(
            f"The source does not fit the task: {'; '.join(faults)}",
            got=f"{task}, split {split.kind}",
            remedy="Mend the recipe's `source` or `split`",
        )


def _image_facts(images: Sequence[SourceImage]) -> dict[str, Any]:
    return {
        "patient": [image.patient for image in images],
        "site": [image.site for image in images],
        "given": [image.given for image in images],
        "word": [image.word for image in images],
    }


def _slide_shard(item: SlideShards, labels: LabelMap, task: Task) -> Shard:
    row = item.row
    return Shard(
        name=row.slide_id,
        pixels=item.tiles,
        pixels_file="tiles.arrow",
        labels=item.tile_labels,
        stain=item.stain,
        own=_own_class(item, labels, task),
        facts={
            "patient": row.patient,
            "site": row.site,
            "given": row.split,
            "word": row.label,
        },
    )


def _own_class(item: SlideShards, labels: LabelMap, task: Task) -> int | None:
    """Return the class that all tiles of a slide have; without labels it is the only one."""
    if task == "pretraining":
        return 0
    whole = item.tile_labels is None and task == "classification"
    return slide_label(item.row.label, labels) if whole else None


def _ensured(plan: Plan) -> Artefact:
    faults = [f"{s.name} lies elsewhere" for s in plan.shards if not _in_store(s, plan.store)]
    names = [shard.name for shard in plan.shards]
    faults += sorted({f"{name} is there twice" for name in names if names.count(name) > 1})
    if len({shard.has_places_only for shard in plan.shards}) > 1:
        faults.append("some hold pixels and some coordinates only")
    if not plan.shards:
        faults.append("there are none")
    if faults:
        raise DatasetError(
            f"These shards cannot make a dataset: {'; '.join(faults[:10])}",
            got=plan.store.root,
            remedy="Tile each slide once, into the store that the dataset is built in",
        )
    return plan.store.ensure(plan.shape, partial(_make, plan))


def _in_store(shard: Shard, store: Store) -> bool:
    folders = [item.folder for item in (shard.pixels, shard.labels) if item is not None]
    return all(folder.resolve().is_relative_to(store.root.resolve()) for folder in folders)


def _make(plan: Plan, folder: Path) -> dict[str, Any]:
    streams = label_streams(plan, folder)
    tables = [open_stream(path) for path in streams]
    _refuse_unlike(plan, [len(table) for table in tables])
    counts = np.concatenate([count_targets(table, plan.labels, plan.task) for table in tables])
    rows = plan.rows(counts)
    placed = _placed(rows, plan)
    summary = summarise(plan, rows, placed, counts)
    facts = summary.facts | ({"source": plan.told} if plan.told else {})
    facts |= write_stains(plan, folder)
    facts["warnings"] = [*facts["warnings"], *stain_warnings(facts)]
    write_layout(plan, streams, folder, columns=summary.sidecar)
    (folder / "labels.json").write_text(canonical_json(plan.labels))
    (folder / "splits.json").write_text(canonical_json(summary.splits))
    (folder / "dataset_card.md").write_text(card_text(facts))
    return facts


def _placed(rows: Rows, plan: Plan) -> Placement:
    if not rows.usable.any():
        raise DatasetError(
            "No example is labelled, so there is nothing to learn from",
            got=f"{len(rows.usable)} examples",
            known=[str(source) for item in plan.labels.classes for source in item.sources],
            remedy="Check that annotations or labels use these names, and `min_coverage`",
        )
    if isinstance(plan.split, RegionSplit):
        return place_regions(rows, plan.split)
    placed = place(rows, plan.split)
    assert_disjoint(rows.patients.tolist(), placed.tolist())
    return placed


def _refuse_unlike(plan: Plan, label_rows: Sequence[int]) -> None:
    unlike = [
        f"{shard.name}: {rows} labels, {tiles} tiles"
        for shard, rows in zip(plan.shards, label_rows, strict=True)
        if rows != (tiles := len(open_stream(shard.path)))
    ]
    if unlike:
        raise DatasetError(
            "Labels do not belong to their tiles",
            got="; ".join(unlike[:5]),
            remedy="Label these tiles again",
        )
