"""What a dataset is made of, and the table of rows that its split looks at."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.example import Task
from wsi_vit.datasets.shards import open_stream
from wsi_vit.datasets.splits import AnySplit, Rows
from wsi_vit.datasets.targets import is_labelled
from wsi_vit.labels import LabelMap
from wsi_vit.store import Artefact, Shape, Store, digest_of

VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One shard of pixels, its labels, and what is known of its rows beside."""

    name: str
    pixels: Artefact
    pixels_file: str
    labels: Artefact | None
    """Absent: `own` is the class of each row."""
    stain: Artefact | None = None
    """Stage `stain`; absent: the pixels are read as they are stored."""
    own: int | None = None
    facts: dict[str, Any]
    """Of each row, or of all: patient, site, given (split), word (class to stratify by)."""

    @property
    def path(self) -> Path:
        """The stream of pixels."""
        return self.pixels.folder / self.pixels_file

    @property
    def side(self) -> float:
        """Side of a tile in base pixels; 1 where there is no slide."""
        return float(self.pixels.facts.get("grid", {}).get("side", 1.0))

    @property
    def has_places_only(self) -> bool:
        """Whether it says where its tiles lie and holds no picture."""
        return self.pixels.facts.get("store") == "coordinates"

    def column(self, name: str, rows: int) -> NDArray[np.str_]:
        """Return one fact as an array of text, empty where unknown."""
        value = self.facts[name]
        values = value if isinstance(value, list) else [value] * rows
        return np.array([item or "" for item in values], dtype=np.str_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a dataset is made of."""

    name: str
    shards: tuple[Shard, ...]
    labels: LabelMap
    task: Task
    split: AnySplit
    patients_known: bool
    unit: str = "patients"
    """What those whom the split keeps whole are called, as a plural."""
    store: Store
    told: dict[str, Any] = field(default_factory=dict)
    """What a source of images said of itself: found, dropped, gathered; follows from the shards."""

    @property
    def shape(self) -> Shape:
        """What decides the dataset."""
        inputs = {f"pixels/{shard.name}": shard.pixels.digest for shard in self.shards}
        inputs |= {f"labels/{s.name}": s.labels.digest for s in self.shards if s.labels}
        inputs |= {f"stain/{s.name}": s.stain.digest for s in self.shards if s.stain}
        rows = {shard.name: {"own": shard.own, **shard.facts} for shard in self.shards}
        sections = {
            "name": self.name,
            "labels": self.labels,
            "task": self.task,
            "split": self.split,
            "rows": digest_of(rows),
            "unit": self.unit,
        }
        return Shape.of("dataset", VERSION, sections=sections, inputs=inputs)

    @property
    def has_places_only(self) -> bool:
        """Whether the pictures stay in the slides; no dataset is of both kinds."""
        return any(shard.has_places_only for shard in self.shards)

    def rows(self, counts: NDArray[np.int64]) -> Rows:
        """Return all rows of all shards, in order.

        `counts` is (rows, classes + 1), ignored pixels last; what a split balances is the class
        that the source names for an image or slide, where it names one, else these counts. Where
        an image has several labels, each example of one counts as the share of all of them that it
        is, so that whom a rare label is of is dealt out by that label.
        """
        tables = [open_stream(s.path).select(["slide_id", "x", "y"]) for s in self.shards]
        sizes = [len(table) for table in tables]
        usable = is_labelled(counts, self.task)

        def fact(name: str) -> NDArray[np.str_]:
            pairs = zip(self.shards, sizes, strict=True)
            return np.concatenate([shard.column(name, size) for shard, size in pairs])

        def column(name: str) -> NDArray[Any]:
            return np.concatenate([table[name].to_numpy() for table in tables])

        return Rows(
            slide_ids=column("slide_id").astype(np.str_),
            patients=fact("patient"),
            sites=fact("site"),
            given=fact("given"),
            x=column("x"),
            y=column("y"),
            side=np.repeat([shard.side for shard in self.shards], sizes),
            counts=self._strata(fact("word")[:, None], counts, usable),
            usable=usable,
        )

    def _strata(
        self, words: NDArray[np.str_], counts: NDArray[np.int64], usable: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return what to balance, shape (rows, strata): words' classes, labels, or target shares.

        Labels are followed by the rows that show none of them.
        """
        if (words[usable] != "").all() and usable.any():
            return (words == np.unique(words)[None]).astype(np.float64)
        known = counts[:, :-1].astype(np.float64)
        if self.task != "multi_label":
            return known / np.maximum(known.sum(axis=1, keepdims=True), 1)
        shown = np.column_stack([known, ~known.any(axis=1)]) * usable[:, None]
        return shown / np.maximum(shown.sum(axis=0), 1)
