"""A built dataset in the hub's own format: Parquet, `README.md`, `id2label.json`.

No name of a patient, slide or site leaves: they become keyed hashes (HMAC-SHA256, Bellare et al.
1996), which tell who belongs together and, without the key, nothing else. Pictures leave with their
pixels alone (see `bare`).
"""

import hmac
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wsi_vit.cohort import SPLITS
from wsi_vit.datasets.bare import bare_picture
from wsi_vit.datasets.card import PATIENTS
from wsi_vit.datasets.publish_card import Listing, Published, readme_text
from wsi_vit.datasets.reading import DatasetExamples, TrainingSet
from wsi_vit.datasets.shards import PRESENT, UNKNOWN, encoded, target_features
from wsi_vit.labels import IGNORE_ID
from wsi_vit.store import Artefact, Shape, Store

if TYPE_CHECKING:
    from datasets import Features

VERSION = 1
KEY_FILE = "publish.key"

_ROWS_A_GROUP = 100
_SHARD_BYTES = 400_000_000
_HASH_DIGITS = 16


class Pseudonyms:
    """Keyed hashes of names: the same name and key always give the same hash."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def kept_in(cls, folder: Path) -> "Pseudonyms":
        """Return those of the key that a folder keeps; one is drawn where there is none.

        The key never leaves the folder. Whoever has it can test a guess at a name.
        """
        path = folder / KEY_FILE
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(bytes.fromhex(path.read_text()))
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
        return cls(bytes.fromhex(path.read_text()))

    def of(self, kind: str, names: Sequence[str]) -> list[str]:
        """Return the hash of each name, 16 hexadecimal digits; empty text stays empty."""
        return [name and self._hashed(f"{kind}\0{name}") for name in names]

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without telling them."""
        return self._hashed("fingerprint")

    def _hashed(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()[:_HASH_DIGITS]


def export_dataset(
    data: TrainingSet, *, listing: Listing, pseudonyms: Pseudonyms, store: Store
) -> Artefact:
    """Return a dataset as the hub has it (stage `published`), written only where it is missing.

    Rows without a split (unlabelled, guard band) stay at home. The same dataset, listing and key
    give the same bytes.

    Raises:
        DatasetError: A shard is missing or damaged.
        StoreError: The disk is full.
    """
    shape = Shape.of(
        "published",
        VERSION,
        sections={"listing": listing, "pseudonyms": pseudonyms.fingerprint},
        inputs={"dataset": data.digest},
    )
    return store.ensure(shape, partial(_write, data, listing, pseudonyms))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """How the examples of a dataset become rows of Parquet."""

    data: TrainingSet
    features: "Features"
    pseudonyms: Pseudonyms
    group: str

    def batches(self, part: DatasetExamples) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a split, few at a time: pictures are large."""
        schema = self.features.arrow_schema
        for start in range(0, len(part), _ROWS_A_GROUP):
            some = part.select(range(start, min(start + _ROWS_A_GROUP, len(part))))
            values = {**self._names(some), **self._pictures(some), **_places(some)}
            kept = {name: values[name] for name in self.features}
            yield pa.RecordBatch.from_pydict(kept, schema=schema)

    def _names(self, some: DatasetExamples) -> dict[str, list[Any]]:
        return {
            "slide": self.pseudonyms.of("slide", some.slide_ids),
            self.group: self.pseudonyms.of("patient", some.patients),
            "site": self.pseudonyms.of("site", some.sites),
        }

    def _pictures(self, some: DatasetExamples) -> dict[str, list[Any]]:
        rows = range(len(some))
        return {
            "image": [encoded(bare_picture(some.encoded(row))) for row in rows],
            **self._targets(some),
        }

    def _targets(self, some: DatasetExamples) -> dict[str, list[Any]]:
        if self.data.task == "segmentation":
            masks = (some.encoded_mask(row) for row in range(len(some)))
            return {"label": [encoded(bare_picture(mask)) for mask in masks]}
        if self.data.task != "multi_label":
            return {"label": some.labels.tolist()}
        return {
            column: [np.flatnonzero(row == value).tolist() for row in some.presence]
            for column, value in ((PRESENT, 1), (UNKNOWN, IGNORE_ID))
        }


def _write(
    data: TrainingSet, listing: Listing, pseudonyms: Pseudonyms, folder: Path
) -> dict[str, Any]:
    parts = {str(name): part for name in SPLITS if len(part := data.examples(name))}
    group = "patient" if data.unit == PATIENTS else "group"
    features = _features(data, list(parts.values()), group)
    table = _Table(data=data, features=features, pseudonyms=pseudonyms, group=group)
    (folder / "data").mkdir()
    sizes = {name: _write_split(folder / "data", name, table, part) for name, part in parts.items()}
    published = Published(
        features=features,
        rows={name: len(part) for name, part in parts.items()},
        sizes=sizes,
        stored_bytes=sum(path.stat().st_size for path in folder.glob("data/*.parquet")),
    )
    names = {name for part in parts.values() for name in _private(part)}
    id2label = {str(index): name for index, name in enumerate(data.labels.names)}
    (folder / "id2label.json").write_text(json.dumps(id2label, indent=1, ensure_ascii=False) + "\n")
    (folder / "README.md").write_text(readme_text(data, listing, published, private=names))
    return {"rows": published.rows, "bytes": published.stored_bytes}


def _features(data: TrainingSet, parts: Sequence[DatasetExamples], group: str) -> "Features":
    """Return the columns: only those that say something of these examples."""
    from datasets import Features, Image, Value

    words = ["slide", group, *(["site"] if any(any(part.sites) for part in parts) else [])]
    are_tiles = any(part.x.any() or part.y.any() for part in parts)
    numbers = ["x", "y"] if are_tiles else []
    numbers += ["mpp"] if any(np.isfinite(part.mpp).any() for part in parts) else []
    return Features(
        {
            "image": Image(),
            **_target_columns(data, parts),
            **{name: Value("string") for name in words},
            **{name: Value("float64") for name in numbers},
        }
    )


def _target_columns(data: TrainingSet, parts: Sequence[DatasetExamples]) -> dict[str, Any]:
    """Return the columns of the targets; of masks and classes it is called `label`."""
    columns = dict(target_features(data.labels, data.task))
    if data.task != "multi_label":
        (only,) = columns.values()
        return {"label": only}
    if not any((part.presence == IGNORE_ID).any() for part in parts):
        del columns[UNKNOWN]
    return columns


def _places(some: DatasetExamples) -> dict[str, list[Any]]:
    mpp = [value if np.isfinite(value) else None for value in some.mpp.tolist()]
    return {"x": some.x.tolist(), "y": some.y.tolist(), "mpp": mpp}


def _private(part: DatasetExamples) -> set[str]:
    """Return the names that must not leave."""
    return {*part.keys, *part.slide_ids, *part.patients, *part.sites} - {""}


def _write_split(folder: Path, name: str, table: _Table, part: DatasetExamples) -> int:
    """Write a split's shards, named as the hub names them; return the bytes in memory."""
    paths, size = list[Path](), 0
    for batches in _in_shards(table.batches(part)):
        path = folder / f"{name}-{len(paths):05}"
        with pq.ParquetWriter(
            path,
            table.features.arrow_schema,
            write_page_index=True,
            use_content_defined_chunking=True,  # a changed row changes few of the hub's chunks
        ) as writer:
            for batch in batches:
                writer.write_batch(batch)
        paths.append(path)
        size += sum(batch.nbytes for batch in batches)
    for path in paths:
        path.rename(folder / f"{path.name}-of-{len(paths):05}.parquet")
    return size


def _in_shards(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Gather batches until they are enough for a file."""
    gathered = list[pa.RecordBatch]()
    for batch in batches:
        gathered.append(batch)
        if sum(item.nbytes for item in gathered) >= _SHARD_BYTES:
            yield gathered
            gathered = []
    if gathered:
        yield gathered
