"""Open a dataset and read one split of it, in batches, decoded.

Shards are memory-mapped: opening reads no pixel, and a batch copies only what it decodes.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsi_vit.cohort import Split
from wsi_vit.datasets.decoding import Decoder, decode_mask, jpeg_decoder
from wsi_vit.datasets.example import Example, Task
from wsi_vit.datasets.integrity import refuse_damage
from wsi_vit.datasets.layout import LABELS_FOLDER, SIDECAR, SIDECAR_FOLDER, shard_paths
from wsi_vit.datasets.pictures import EncodedColumn, Pictures, open_pictures
from wsi_vit.datasets.shards import open_stream
from wsi_vit.datasets.splits import assert_disjoint
from wsi_vit.datasets.stains import stain_maps
from wsi_vit.datasets.targets import presence_of
from wsi_vit.labels import LabelMap
from wsi_vit.slides.stain.mapping import StainMap
from wsi_vit.store import Manifest, read_manifest

if TYPE_CHECKING:
    from datasets import Dataset


class DatasetExamples:
    """One split, map-style; names and labels are known without decoding a picture.

    It can be pickled: a worker process opens the shards itself.
    """

    def __init__(self, folder: Path, task: Task, rows: NDArray[np.int64]) -> None:
        self.folder = folder
        self.task: Task = task
        self.rows = rows
        """Positions in the whole dataset, int64 (n,)."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Return the examples at these positions, decoded, in this order.

        Raises:
            DatasetError: A picture cannot be decoded, or not be read from its slide; it is named.
        """
        names = [self.keys[index] for index in indices]
        images = self._pictures.read([int(self.rows[index]) for index in indices], names)
        return [
            Example(
                image=self._restained(image, self.slide_ids[index]),
                target=self._target(index),
                key=name,
                slide_id=self.slide_ids[index],
                patient=self.patients[index],
            )
            for index, name, image in zip(indices, names, images, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "task": self.task, "rows": self.rows}

    def select(self, indices: Sequence[int]) -> "DatasetExamples":
        """Return some of these examples, in this order."""
        return DatasetExamples(self.folder, self.task, self.rows[np.asarray(indices, np.int64)])

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Names of the examples."""
        return self._words(self._sidecar, "key")

    @cached_property
    def slide_ids(self) -> tuple[str, ...]:
        """The slide, or image file, of each example."""
        return self._words(self._pixels, "slide_id")

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """The patient of each example."""
        return self._words(self._sidecar, "patient")

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """The site of each example; empty text where unknown."""
        return self._words(self._sidecar, "site")

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """Left edge of each tile, base pixels, (n,)."""
        return self._pixels["x"].to_numpy()[self.rows]

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Top edge of each tile, base pixels, (n,)."""
        return self._pixels["y"].to_numpy()[self.rows]

    @cached_property
    def mpp(self) -> NDArray[np.float64]:
        """Micrometres per pixel of each example, (n,); NaN where unknown."""
        known = self._pixels["mpp"].fill_null(float("nan"))
        return known.to_numpy()[self.rows]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How much of each class each example holds, (n, classes + 1), ignored pixels last.

        Of several labels 1 for each that is present; last, how many are not known.
        """
        counts = self._sidecar["counts"].combine_chunks()
        flat = np.from_dlpack(counts.flatten())  # to_numpy would import pandas
        return flat.astype(np.int64, copy=False).reshape(len(counts), -1)[self.rows]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The class each example holds most of (its own, for classification), (n,)."""
        return self.counts[:, :-1].argmax(axis=1)

    @cached_property
    def presence(self) -> NDArray[np.uint8]:
        """Which labels each example shows: 1 present, 0 absent, 255 not known, (n, labels).

        Only where examples have several labels.
        """
        return self._presence[self.rows]

    @property
    def decode(self) -> Decoder:
        """What decodes JPEG here; runs record it, for decoders differ in the last bit."""
        return jpeg_decoder()

    def encoded(self, index: int) -> bytes:
        """Return an image as it is stored, as the scanner or the tiler encoded it.

        A tile of which only the place is kept is read from its slide and encoded.

        Raises:
            DatasetError: It cannot be read.
        """
        return self._pictures.encoded(int(self.rows[index]), self.keys[index])

    def encoded_mask(self, index: int) -> bytes:
        """Return the stored PNG of an example's training ids (segmentation only)."""
        return bytes(self._masks[int(self.rows[index])])

    def _target(self, index: int) -> NDArray[np.uint8]:
        if self.task == "segmentation":
            return decode_mask(self._masks[int(self.rows[index])], name=self.keys[index])
        if self.task == "multi_label":
            return self.presence[index].copy()
        return np.array(self.labels[index], dtype=np.uint8)

    def _restained(self, image: NDArray[np.uint8], slide_id: str) -> NDArray[np.uint8]:
        stain = self._stains.get(slide_id)
        return image if stain is None else stain.apply(image)

    def _words(self, table: pa.Table, column: str) -> tuple[str, ...]:
        rows = np.ascontiguousarray(self.rows, np.int64)
        # From its buffer: making it of objects would import pandas, half a second a process.
        chosen = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
        return tuple(table[column].take(chosen).to_pylist())

    @cached_property
    def _streams(self) -> tuple[pa.Table, ...]:
        return tuple(open_stream(path) for path in shard_paths(self.folder))

    @cached_property
    def _pixels(self) -> pa.Table:
        columns = ["slide_id", "x", "y", "mpp"]
        return pa.concat_tables([table.select(columns) for table in self._streams])

    @cached_property
    def _sidecar(self) -> pa.Table:
        return open_stream(self.folder / SIDECAR_FOLDER / SIDECAR)

    @cached_property
    def _pictures(self) -> Pictures:
        return open_pictures(shard_paths(self.folder))

    @cached_property
    def _stains(self) -> dict[str, StainMap]:
        return stain_maps(self.folder)

    @cached_property
    def _masks(self) -> EncodedColumn:
        return EncodedColumn(self._targets, "mask")

    @cached_property
    def _presence(self) -> NDArray[np.uint8]:
        labels = read_labels(self.folder)
        return np.concatenate([presence_of(table, labels) for table in self._targets])

    @property
    def _targets(self) -> list[pa.Table]:
        return [open_stream(path) for path in shard_paths(self.folder / LABELS_FOLDER)]


class TrainingSet:
    """A dataset with frozen splits, opened and checked."""

    def __init__(self, folder: Path, manifest: Manifest, labels: LabelMap) -> None:
        self.folder, self.labels = folder, labels
        self.facts: dict[str, Any] = manifest.facts
        """The counts and warnings that the card shows."""

    @property
    def digest(self) -> str:
        """Identity of content and splits; independent of paths and machines."""
        return self.facts["digest"]

    @property
    def split_digest(self) -> str:
        """Identity of who is in which split."""
        return self.facts["split_digest"]

    @property
    def split_kind(self) -> str:
        """How it was split: patients, folds, regions or cohort."""
        return self.facts["split_kind"]

    @property
    def estimate(self) -> str:
        """What scores on its test split speak of: `unseen patients`, `regions of one patient`."""
        return self.facts["estimate"]

    @property
    def unit(self) -> str:
        """What it calls the units that were split, as a plural."""
        return self.facts.get("unit", "patients")

    @property
    def task(self) -> Task:
        """What its targets are."""
        return self.facts["task"]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a report must say beside the scores."""
        return tuple(self.facts["warnings"])

    def examples(self, split: Split) -> DatasetExamples:
        """Return one split; it may be empty where the recipe asks for none.

        Raises:
            DatasetError: A shard is missing or damaged.
        """
        rows = np.flatnonzero(np.array(self._splits) == split)
        return DatasetExamples(self.folder, self.task, rows.astype(np.int64))

    def table(self) -> "Dataset":
        """Return everything as one Hugging Face dataset, memory-mapped, columns joined."""
        from datasets import Dataset, concatenate_datasets, load_from_disk

        parts = [
            load_from_disk(str(self.folder / below))
            for below in ("", LABELS_FOLDER, SIDECAR_FOLDER)
        ]
        return concatenate_datasets([p for p in parts if isinstance(p, Dataset)], axis=1)

    @cached_property
    def _splits(self) -> list[str]:
        return open_stream(self.folder / SIDECAR_FOLDER / SIDECAR)["split"].to_pylist()


def read_labels(folder: Path) -> LabelMap:
    """Return the label map of a dataset."""
    return LabelMap.model_validate_json((folder / "labels.json").read_text())


def open_dataset(folder: Path) -> TrainingSet:
    """Open a dataset, and check that it is the one that was built and that no patient straddles.

    Raises:
        DatasetError: It is damaged, its shards are gone, or a patient is in two splits.
        StoreError: The folder has no manifest.
    """
    manifest = read_manifest(folder)
    refuse_damage(folder, manifest)
    opened = TrainingSet(folder, manifest, read_labels(folder))
    if opened.split_kind != "regions":
        sidecar = open_stream(folder / SIDECAR_FOLDER / SIDECAR)
        assert_disjoint(sidecar["patient"].to_pylist(), sidecar["split"].to_pylist())
    return opened
