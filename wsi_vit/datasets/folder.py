"""Images in folders, with masks beside them or classes in their paths: what their paths say."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from wsi_vit.datasets.coco import CocoMasks
from wsi_vit.datasets.example import Task
from wsi_vit.datasets.images import (
    Absent,
    EncodedMask,
    FileBlob,
    Mask,
    SourceIds,
    SourceImage,
    existing,
    is_picture,
    none_found,
    refuse,
)
from wsi_vit.datasets.label_table import LabelTable, TableRow, read_label_table
from wsi_vit.datasets.masks import CocoValues, IndexValues, MaskValues
from wsi_vit.datasets.naming import PathSource, Pattern, ids_of
from wsi_vit.section import Section

_ORPHAN = "mask without an image"
_NO_ROW = "no row in the table of labels"
_UNCOVERED = "not annotated"


def _below(pattern: str) -> str:
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("must be a glob below `root`, such as `**/*.png`")
    return pattern


class MaskRule(Section):
    """Where an image's mask lies, and how its values are read."""

    find: Pattern = ""
    """A regular expression in the image's path (relative, with `/`) …"""
    replace: str = ""
    """… and what makes it the mask's path; `\\1` stands for the first group."""
    values: MaskValues = Field(default=IndexValues())
    """Which class a pixel is; `coco` needs no `find`, since one file holds all masks."""

    @model_validator(mode="after")
    def _replace_fits(self) -> Self:
        if not self.find and not isinstance(self.values, CocoValues):
            raise ValueError("`find` and `replace` must say how an image's path becomes its mask's")
        try:
            re.compile(self.find).sub(self.replace, "")
        except re.error as error:
            raise ValueError(f"`replace` does not fit `find`: {error}") from error
        return self


class FolderSource(PathSource):
    """Image files below one folder."""

    kind: Literal["folder"] = "folder"
    images: Annotated[str, AfterValidator(_below)] = "**/*"
    """Which files are images, as a glob; other suffixes than those of images are left out."""
    mask: MaskRule | None = None
    table: Annotated[str, AfterValidator(_below)] | None = None
    """The CSV below the root that says which of several labels each image shows (see
    `label_table`); images that it does not name are left out."""

    def unfit(self, task: Task) -> list[str]:
        """Return why these rules cannot serve a task: each needs a rule of its own."""
        if task == "classification" and self.label is None:
            return ["classes need `source.label`, which finds them in the paths"]
        if task == "segmentation" and self.mask is None:
            return ["masks need `source.mask`, which finds them beside the images"]
        if task == "multi_label" and (self.mask is None) == (self.table is None):
            return ["labels need `source.table`, a CSV that says them, or else `source.mask`"]
        return []

    def has_masks_for(self, task: Task) -> bool:
        """Say whether targets of a task are read from masks: not where a table tells labels."""
        return super().has_masks_for(task) and (self.table is None or task == "segmentation")

    @property
    def patients_known(self) -> bool:
        """Whether a rule, or a column of the table, says which images are of one patient."""
        table = self._table()
        return super().patients_known or (table is not None and table.names_patients)

    def names(self) -> Mapping[str, int] | None:
        """Return the labels of a table, or the categories of a COCO file with what has none."""
        table, coco = self._table(), self._coco()
        if table is not None:
            return {name: number for number, name in enumerate(table.labels)}
        return {_UNCOVERED: 0, **coco.names} if coco else None

    def find(self) -> list[SourceImage]:
        """Return the images of the folder, by path."""
        images = self._found()
        table = self._table()
        return images if table is None else self._as_told(images, table)

    def _as_told(self, images: list[SourceImage], table: LabelTable) -> list[SourceImage]:
        """Return the images with what the table says of them."""
        there = {image.relative for image in images}
        lost = [
            f"{name}: is in the table, but not there" for name in table.rows if name not in there
        ]
        refuse(lost, self.root)
        return [
            self._with_row(image, table.rows[image.relative])
            if image.relative in table.rows
            else replace(image, left_out=image.left_out or _NO_ROW)
            for image in images
        ]

    def _with_row(self, image: SourceImage, row: TableRow) -> SourceImage:
        """Return an image with a row's words, where no rule finds them in its path."""
        return replace(
            image,
            told=row.told,
            patient=row.patient or image.patient if self.patient is None else image.patient,
            site=row.site or image.site,
            given=row.split or image.given,
        )

    def _found(self) -> list[SourceImage]:
        root = existing(self.root)
        paths = [path for path in sorted(root.glob(self.images)) if is_picture(path)]
        masks = {path: _mask_path(path, root, self.mask) for path in paths}
        taken = set(masks.values())
        paths = [path for path in paths if path not in taken]
        if not paths:
            raise none_found(
                root,
                wanted=f"images: {self.images!r}",
                remedy="Check `root` and the glob in `images`",
            )
        problems, coco = list[str](), self._coco()
        images = [
            self.told_by(
                path.relative_to(root).as_posix(),
                slide_id,
                pixels=FileBlob(path),
                mask=self._mask(path, masks[path], coco),
                problems=problems,
            )
            for path, slide_id in ids_of(paths, root).items()
        ]
        refuse(problems, root)
        return [*images, *_orphans({path: masks[path] for path in paths}, root)]

    def _table(self) -> LabelTable | None:
        return None if self.table is None else read_label_table(existing(self.root) / self.table)

    def _coco(self) -> CocoMasks | None:
        rule = self.mask
        if rule is None or not isinstance(rule.values, CocoValues):
            return None
        return rule.values.open(existing(self.root))

    def _mask(self, path: Path, beside: Path | None, coco: CocoMasks | None) -> Mask | None:
        root = existing(self.root)
        if coco is not None:
            return _CocoMask(coco, path.relative_to(root).as_posix())
        if beside is None or self.mask is None or isinstance(self.mask.values, CocoValues):
            return None
        return EncodedMask(FileBlob(beside), self.mask.values, _shown(beside, root))


@dataclass(frozen=True, slots=True)
class _CocoMask:
    """The mask that a COCO file holds for one image."""

    masks: CocoMasks
    name: str

    def digest(self) -> str:
        """Return what decides the ids."""
        return self.masks.digest(self.name)

    def read(self) -> SourceIds:
        """Return the ids (h, w)."""
        return self.masks.read(self.name)


def _mask_path(path: Path, root: Path, rule: MaskRule | None) -> Path | None:
    if rule is None or not rule.find:
        return None
    relative = path.relative_to(root).as_posix()
    found, count = re.subn(rule.find, rule.replace, relative)
    return root / found if count and found != relative else None


def _shown(path: Path, root: Path) -> str:
    return str(path).removeprefix(f"{root}/")


def _orphans(masks: Mapping[Path, Path | None], root: Path) -> Iterator[SourceImage]:
    """Yield, as left out, files in folders of masks alone that no image claims."""
    claimed = {path for path in masks.values() if path}
    suffixes = {path.suffix for path in claimed}
    for folder in sorted({path.parent for path in claimed} - {path.parent for path in masks}):
        for path in sorted(folder.glob("*")):
            if path.suffix in suffixes and path not in claimed:
                name, absent = _shown(path, root), Absent(_ORPHAN)
                yield SourceImage(
                    relative=name, slide_id=name, patient="", pixels=absent, left_out=_ORPHAN
                )
