"""Image sets of the Hugging Face hub, as parquet files: from a local copy, or fetched once.

Script datasets are not run: the hub converts many of them itself (`revision:
refs/convert/parquet`), and the raw folders of others are read by sources of their own.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from wsi_vit.cohort import Split
from wsi_vit.datasets.example import Task
from wsi_vit.datasets.hub_columns import Columns, told_apart
from wsi_vit.datasets.hub_stream import drawn
from wsi_vit.datasets.images import (
    EncodedMask,
    ImageSource,
    SourceImage,
    existing,
    none_found,
    refuse,
    split_named,
    unambiguous,
)
from wsi_vit.datasets.masks import IndexValues
from wsi_vit.datasets.parquet import Cell, Part, features_of, incomplete, parts_in, rows_of
from wsi_vit.errors import DatasetError
from wsi_vit.store.hub import HUB_ID, NotOnThisMachine, Repository

_LISTS = ("*id2label.json", "README.md")
_WANTED = ("*.parquet", *_LISTS)


class HubSource(ImageSource):
    """A repository of the hub, by id and revision; `root` names a local copy of it."""

    kind: Literal["hub"] = "hub"
    id: str = Field(pattern=HUB_ID)
    """Such as `segments/sidewalk-semantic`."""
    revision: str = "main"
    """A branch, a tag or, for reproducible runs, a commit."""
    access: Literal["files", "stream"] = "files"
    """`stream` draws the rows of sets that are no parquet files, once, and keeps them."""
    config: str | None = None
    """Which of several configurations; absent: the only one."""
    image: str | None = None
    """The column of images; absent: found by its kind and name."""
    mask: str | None = None
    """The column of masks, which hold ids as grey values; absent: found by its kind and name."""
    label: str | None = None
    """The column of classes of whole images, or of lists of them; absent: the only such one. Beside
    a column of lists, one called `unknown` lists the labels that are not known."""
    patient: str | None = None
    """The column that says which images belong together; absent: each stands for itself."""
    site: str | None = None
    """The column of sites; absent: the hub's split is the site."""
    splits: dict[str, Split] | None = Field(default=None, min_length=1)
    """Which split of the hub is which of ours, others left out; absent: as they are called."""

    @property
    def patients_known(self) -> bool:
        """Whether a column says which images belong together."""
        return self.patient is not None

    def names(self) -> Mapping[str, int] | None:
        """Return `id2label.json` of the repository; for classes of images, their column's names.

        Raises:
            DatasetError: There is no copy, or the list is no such list.
        """
        folder = self.folder()
        listed = sorted(folder.glob("*id2label.json"))
        if listed:
            return _read_names(listed[0])
        columns = self._columns(self._parts(folder)[0])
        if columns.mask:  # the classes of whole images say nothing of the masks' ids
            return None
        return {name: number for number, name in enumerate(columns.classes)} or None

    def has_masks_for(self, task: Task) -> bool:
        """Say whether targets of a task are read from masks: not where a column lists labels."""
        if task != "multi_label":
            return super().has_masks_for(task)
        return not self._columns(self._parts(self.folder())[0]).is_list

    def find(self) -> list[SourceImage]:
        """Return the rows of all files, by file and row.

        Raises:
            DatasetError: There is no copy, or columns or splits cannot be told; all at once.
        """
        folder, images, problems = self.folder(), list[SourceImage](), list[str]()
        counts: dict[str, int] = {}
        for part in self._parts(folder):
            given = self._given(part, problems)
            for row in self._rows(part):
                place = counts.setdefault(part.split, 0)
                counts[part.split] += 1
                images.append(self._image(part, place, given, row))
        refuse(problems, self.root or self.id)
        if not images:
            raise none_found(folder, wanted="rows", remedy="Check `config` and `revision`")
        return images

    def folder(self) -> Path:
        """Return the local copy: `root`, else the hub's cache, else fetched.

        Raises:
            DatasetError: There is none, and the hub is out of reach or does not know it.
        """
        if self.root is not None:
            return existing(self.root)
        files = _WANTED if self.access == "files" else _LISTS
        wanted = Repository(id=self.id, revision=self.revision, kind="dataset", wanted=files)
        try:
            if self.access == "stream":
                return drawn(wanted, self.config)
            return wanted.folder(_is_whole)
        except (NotOnThisMachine, ValueError) as error:
            raise DatasetError(
                "A data set is not on this machine and cannot be fetched",
                got=f"{self.id}@{self.revision} ({error})",
                remedy=(
                    f"Where there is a network, run `{wanted.command}` and bring the folder it"
                    " prints; then name it in source.root or with --cohort, or copy the cache that"
                    " HF_HOME names"
                ),
            ) from error

    def _parts(self, folder: Path) -> list[Part]:
        parts = parts_in(folder)
        if not parts:
            raise DatasetError(
                "This copy holds no parquet files, and scripts are not run",
                got=folder,
                known=sorted(path.name for path in folder.iterdir())[:12],
                remedy="Try `revision: refs/convert/parquet`, the hub's own conversion",
            )
        configs = sorted({part.config for part in parts})
        named = None if self.access == "stream" else self.config  # one was drawn
        wanted = named if named is not None else configs[0]
        if wanted not in configs or (named is None and len(configs) > 1):
            raise DatasetError(
                "Which configuration is meant cannot be told",
                got=self.config,
                known=configs,
                remedy="Name one of these in source.config",
            )
        chosen = [part for part in parts if part.config == wanted]
        refuse([f"{name}: {told}" for name, told in incomplete(chosen).items()], folder)
        return chosen

    def _given(self, part: Part, problems: list[str]) -> str | None:
        """Return our split of a file, None where the file is left out."""
        if self.splits is not None:
            return self.splits.get(part.split)
        given = split_named(part.split)
        if not given:
            problems.append(f"{part.path.name}: {part.split!r} is no split; say so in `splits`")
        return given

    def _columns(self, part: Part) -> Columns:
        return told_apart(features_of(part), self)

    def _rows(self, part: Part) -> Iterator[dict[str, Any]]:
        columns = self._columns(part)
        small = {"patient": self.patient, "site": self.site, "label": columns.label}
        small["unknown"] = columns.unknown
        stamp = part.path.stat().st_mtime_ns
        for row in rows_of(part, {role: name for role, name in small.items() if name}):
            group, place = row["group"], row["row"]
            row["image"] = Cell(part.path, stamp, columns.image, group, place)
            if columns.mask:
                cell = Cell(part.path, stamp, columns.mask, group, place)
                row["mask"] = EncodedMask(cell, IndexValues())
            row["word"] = "" if columns.is_list else _word(row.get("label"), columns.classes)
            row["told"] = columns.told(row) if columns.is_list else None
            yield row

    def _image(
        self, part: Part, place: int, given: str | None, row: Mapping[str, Any]
    ) -> SourceImage:
        slide_id = f"{part.split}-{place:06}"
        return SourceImage(
            relative=f"{part.path.name}, row {place}",
            slide_id=slide_id,
            patient=_text(row.get("patient")) or slide_id,
            pixels=row["image"],
            mask=row.get("mask"),
            site=_text(row["site"]) if self.site else part.split,
            word=row["word"],
            told=row["told"],
            given=given or "",
            left_out="" if given is not None else f"split {part.split!r}",
        )


def _is_whole(folder: Path) -> bool:
    parts = parts_in(folder)
    return bool(parts) and not incomplete(parts)


def _read_names(path: Path) -> dict[str, int]:
    try:
        listed = json.loads(path.read_bytes()).items()
        return unambiguous([(int(number), (str(name),)) for number, name in listed])
    except (OSError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"The list of names cannot be read ({error.__class__.__name__})",
            got=path,
            remedy='It is one object of ids and names: {"0": "unlabeled", "1": …}',
        ) from error


def _word(value: Any, classes: tuple[str, ...]) -> str:
    if classes and isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return _text(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
