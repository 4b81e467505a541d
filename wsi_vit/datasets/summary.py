"""The facts of a dataset: counts by class, split and patient, digests, and what to beware of."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.cohort import SPLITS
from wsi_vit.datasets.plan import Plan
from wsi_vit.datasets.shards import open_stream
from wsi_vit.datasets.splits import Placement, RegionSplit, Rows, SiteSplit
from wsi_vit.datasets.targets import encoded_images
from wsi_vit.store import digest_of

_MOST_PAIRS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is written beside the shards."""

    facts: dict[str, Any]
    splits: dict[str, Any]
    sidecar: dict[str, Sequence[Any]]


def summarise(plan: Plan, rows: Rows, placed: Placement, counts: NDArray[np.int64]) -> Summary:
    """Count what a dataset holds; `counts` is (rows, classes + 1), ignored pixels last."""
    keys = _keys(plan, rows)
    split_digest = digest_of(
        sorted([key, str(split)] for key, split in zip(keys, placed, strict=True) if split)
    )
    twins = _twins(plan, keys, placed)
    sidecar: dict[str, Sequence[Any]] = {
        "key": keys,
        "patient": rows.patients.tolist(),
        "site": rows.sites.tolist(),
        "split": placed.tolist(),
        "counts": counts.tolist(),
    }
    facts = {
        "name": plan.name,
        "task": plan.task,
        "classes": list(plan.labels.names),
        "examples": len(keys),
        "unlabelled": int((~rows.usable).sum()),
        "left_out": int((rows.usable & (placed == "")).sum()),
        "splits": {name: _of_split(plan, rows, placed == name, counts) for name in SPLITS},
        "slides": len(set(rows.slide_ids)),
        "patients": len(set(rows.patients)),
        "patients_known": plan.patients_known,
        "unit": plan.unit,
        "store": "coordinates" if plan.has_places_only else "pixels",
        "split_kind": plan.split.kind,
        "split_digest": split_digest,
        "digest": digest_of({"shape": plan.shape.key, "splits": split_digest}),
        "estimate": _estimate(plan),
        "duplicates": twins[:_MOST_PAIRS],
    }
    facts["warnings"] = [*_warnings(plan, facts, len(twins)), *_shared_sites(plan, rows, placed)]
    return Summary(facts=facts, splits=_frozen(plan, rows, placed, facts), sidecar=sidecar)


def _estimate(plan: Plan) -> str:
    """Return what scores on the test split speak of."""
    if isinstance(plan.split, RegionSplit):
        return "regions of one patient"
    if isinstance(plan.split, SiteSplit):
        return "unseen sites" if len(plan.split.test) > 1 else "unseen site"
    return f"unseen {plan.unit}"


def _keys(plan: Plan, rows: Rows) -> list[str]:
    """Name each example: `slide_id/x_y` for a tile, the image's name for an image."""
    if plan.shards[0].pixels_file != "tiles.arrow":
        return [str(name) for name in rows.slide_ids]
    places = zip(rows.slide_ids, rows.x, rows.y, strict=True)
    return [f"{slide_id}/{x:.0f}_{y:.0f}" for slide_id, x, y in places]


def _of_split(
    plan: Plan, rows: Rows, chosen: NDArray[np.bool_], counts: NDArray[np.int64]
) -> dict[str, Any]:
    """Count one split; a class's `examples` are those that hold any of it."""
    held = counts[chosen]
    classes = {
        name: {
            "examples": int((held[:, index] > 0).sum()),
            "patients": len(set(rows.patients[chosen][held[:, index] > 0])),
            "amount": int(held[:, index].sum()),
        }
        for index, name in enumerate(plan.labels.names)
    }
    return {
        "examples": int(chosen.sum()),
        "slides": len(set(rows.slide_ids[chosen])),
        "patients": len(set(rows.patients[chosen])),
        "ignored": int(held[:, -1].sum()),
        "classes": classes,
    }


def _twins(plan: Plan, keys: Sequence[str], placed: Placement) -> list[list[str]]:
    """Return groups of byte-identical images that lie in more than one split."""
    seen = defaultdict[bytes, list[int]](list)
    for row, data in enumerate(_images(plan)):
        if data is not None and placed[row]:
            seen[hashlib.blake2b(data, digest_size=16).digest()].append(row)
    return [
        [f"{placed[row]}: {keys[row]}" for row in rows]
        for rows in seen.values()
        if len({str(placed[row]) for row in rows}) > 1
    ]


def _images(plan: Plan) -> Iterator[Any]:
    """Yield what makes each picture what it is: its bytes, or the slide's with its place."""
    for shard in plan.shards:
        table = open_stream(shard.path)
        if not shard.has_places_only:
            yield from encoded_images(table, "image")
            continue
        slide = shard.pixels.manifest.shape.inputs["slide"]
        places = zip(table["x"].to_pylist(), table["y"].to_pylist(), strict=True)
        yield from (f"{slide} {x} {y}".encode() for x, y in places)


def _warnings(plan: Plan, facts: dict[str, Any], twins: int) -> Iterator[str]:
    if isinstance(plan.split, RegionSplit):
        yield (
            "Split by regions of one patient's slides: scores are no estimate on unseen patients, "
            "and a model trained on this can never be promoted."
        )
    elif not plan.patients_known:
        yield (
            "Which files belong together is not known (each stands for itself): leakage between "
            "the splits cannot be excluded."
        )
    if isinstance(plan.split, SiteSplit) and len(plan.split.test) == 1:
        yield (
            f"One site judges ({plan.split.test[0]}): intervals tell how its {plan.unit} differ, "
            "not how sites differ."
        )
    if twins:
        yield f"{twins} images are, byte for byte, in more than one split (see `duplicates`)."
    for name, split in facts["splits"].items():
        lacking = [word for word, held in split["classes"].items() if not held["amount"]]
        if split["examples"] and lacking:
            yield f"The {name} split shows no {', '.join(lacking)}."


def _shared_sites(plan: Plan, rows: Rows, placed: Placement) -> Iterator[str]:
    """Yield what a split that was given, and not made, must be warned of."""
    held = {name: set(rows.sites[placed == name]) - {""} for name in ("train", "test")}
    shared = sorted(map(str, held["train"] & held["test"]))
    if plan.split.kind == "cohort" and shared:
        yield (
            f"The given split has sites in training and test alike ({', '.join(shared[:5])}): "
            "scores do not speak of unseen sites."
        )


def _frozen(plan: Plan, rows: Rows, placed: Placement, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "digest": facts["split_digest"],
        "section": plan.split.model_dump(mode="json"),
        "estimate": facts["estimate"],
        "examples": {name: facts["splits"][name]["examples"] for name in SPLITS},
        "patients": {
            name: sorted({str(patient) for patient in rows.patients[placed == name]})
            for name in SPLITS
        },
        "left_out": facts["left_out"],
        "unlabelled": facts["unlabelled"],
    }
