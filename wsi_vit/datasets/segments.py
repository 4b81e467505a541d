"""Exports of Segments.ai: a release file, and the pictures as their Python SDK lays them out.

A release file (`flowers-v1.0.json`) lists samples with the statuses of their labels. A label is a
bitmap of instance ids and a list that gives each instance a category. The SDK (`SegmentsDataset`
of github.com/segments-ai/segments-ai) keeps, in `segments/<owner>_<dataset>/<release>/`, a sample's
image as `<name>.<suffix>` and its bitmap as `<name>_label_<labelset>.png`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlparse

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.example import Task
from wsi_vit.datasets.images import (
    Absent,
    FileBlob,
    SourceIds,
    SourceImage,
    existing,
    none_found,
    refuse,
    unambiguous,
)
from wsi_vit.datasets.masks import open_picture
from wsi_vit.datasets.naming import PathSource
from wsi_vit.errors import DatasetError
from wsi_vit.store import digest_of

_TASKS = ("segmentation-bitmap", "segmentation-bitmap-highres")
_UNLABELED = "unlabeled"
_MOST_SHOWN = 6


class SegmentsSource(PathSource):
    """A release with its pictures; its categories are the name list, and 0 is unlabeled.

    `label`, `patient`, `site` and `split` are searched in the samples' names.
    """

    kind: Literal["segments"] = "segments"
    release: str | None = None
    """The release file below the root; absent: the only one there."""
    labelset: str = "ground-truth"
    statuses: tuple[str, ...] = ("LABELED", "REVIEWED")
    """Labels of other statuses are left out, and counted."""

    def unfit(self, task: Task) -> list[str]:
        """Return why it cannot serve a task: it has masks alone."""
        return [] if task != "classification" else ["segments has masks, and no classes of images"]

    def names(self) -> Mapping[str, int]:
        """Return the categories' ids by name, one higher where a category has the id 0."""
        release = self._release()
        rows = [(number, (name,)) for number, name in _categories(release).items()]
        return unambiguous([(0, (_UNLABELED,)), *rows])

    def find(self) -> list[SourceImage]:
        """Return the release's samples, in its order."""
        root, release = existing(self.root), self._release()
        if not release["dataset"]["samples"]:
            raise none_found(
                root, wanted=f"samples of {release['name']}", remedy="Export another release"
            )
        folder, problems = self._pictures(release), list[str]()
        images = list[SourceImage]()
        for place, sample in enumerate(release["dataset"]["samples"]):
            try:
                images.append(self._image(sample, folder, _shift(release), problems))
            except (KeyError, TypeError) as error:
                problems.append(f"sample {place}: no proper entry ({error})")
        refuse(problems, root)
        return images

    def _release(self) -> dict[str, Any]:
        root = existing(self.root)
        paths = [root / self.release] if self.release else sorted(root.glob("*.json"))
        found = [(path, content) for path in paths if _is_release(content := _json(path))]
        if len(found) != 1:
            raise DatasetError(
                "There is no release file" if not found else "There are several release files",
                got=self.release or root,
                known=[path.name for path, _ in found] or [path.name for path in paths],
                remedy="Name one file that Segments.ai exported in source.release",
            )
        content = found[0][1]
        _refuse_unusable(content["dataset"], self.labelset)
        return content

    def _pictures(self, release: Mapping[str, Any]) -> Path:
        """Return the folder that holds the pictures, or where the SDK would have put them."""
        dataset, root = release["dataset"], existing(self.root)
        below = Path(f"{dataset['owner']}_{dataset['name']}") / release["name"]
        places = [root / "segments" / below, root / below]
        return next((place for place in places if place.is_dir()), root)

    def _image(
        self, sample: Mapping[str, Any], folder: Path, shift: int, problems: list[str]
    ) -> SourceImage:
        name = sample["name"]
        stem = str(PurePosixPath(name).with_suffix(""))
        pixels = _file(folder, f"{stem}{_suffix(sample['attributes']['image'], name)}")
        unlabeled: dict[str, Any] = {"label_status": "UNLABELED"}
        label = (sample.get("labels") or {}).get(self.labelset) or unlabeled
        status = label["label_status"]
        if status not in self.statuses:
            left_out = f"status {status}"
            return SourceImage(
                relative=name, slide_id=stem, patient="", pixels=pixels, left_out=left_out
            )
        attributes = label["attributes"]
        bitmap = _suffix(attributes["segmentation_bitmap"], ".png")
        mask = _Bitmap(
            _file(folder, f"{stem}_label_{self.labelset}{bitmap}"),
            tuple((item["id"], item["category_id"]) for item in attributes["annotations"]),
            shift,
        )
        return self.told_by(name, stem, pixels=pixels, mask=mask, problems=problems)


@dataclass(frozen=True, slots=True)
class _Bitmap:
    """A bitmap of instances, each with the id of its category."""

    blob: FileBlob | Absent
    categories: tuple[tuple[int, int], ...]
    shift: int

    def digest(self) -> str:
        """Return what decides the ids."""
        return digest_of([self.blob.digest(), self.categories, self.shift])

    def read(self) -> SourceIds:
        """Return the categories' ids (h, w), int64; 0 where no instance is.

        Raises:
            ValueError: The file cannot be read, or shows instances without a category.
        """
        instances = instance_ids(self.blob.read())
        known, numbers = _table(self.categories, self.shift)
        places = np.searchsorted(known, instances).clip(max=len(known) - 1)
        strange = np.unique(instances[known[places] != instances])
        if len(strange):
            shown = ", ".join(str(number) for number in strange[:_MOST_SHOWN])
            raise ValueError(f"shows {len(strange)} instances without a category: {shown}")
        return numbers[places]


def instance_ids(data: bytes) -> NDArray[np.int64]:
    """Return the instance ids (h, w) of a bitmap's bytes.

    As exported, red, green and blue are the lowest, middle and highest byte of an id, and alpha
    means nothing; the SDK's cache holds the ids themselves, as grey values.

    Raises:
        ValueError: It cannot be decoded, or holds neither.
    """
    picture = open_picture(data)
    values = np.asarray(picture).astype(np.int64)
    if picture.mode in {"RGB", "RGBA"}:
        return values[..., 0] | values[..., 1] << 8 | values[..., 2] << 16
    if picture.mode != "L" and not picture.mode.startswith("I"):
        raise ValueError(f"has {picture.mode} pixels, which are no instance ids")
    return values


def _table(
    categories: tuple[tuple[int, int], ...], shift: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return instances in ascending order, and the source ids of their categories."""
    found = {0: 0} | {instance: category + shift for instance, category in categories}
    instances = sorted(found)
    return np.array(instances), np.array([found[instance] for instance in instances])


def _categories(release: Mapping[str, Any]) -> dict[int, str]:
    listed = release["dataset"]["task_attributes"]["categories"]
    shift = _shift(release)
    return {item["id"] + shift: item["name"] for item in listed}


def _shift(release: Mapping[str, Any]) -> int:
    """Return 1 where a category has the id 0, which otherwise stands for unlabeled."""
    return int(any(item["id"] == 0 for item in release["dataset"]["task_attributes"]["categories"]))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):  # told by the caller: this is no release file
        return None


def _is_release(content: Any) -> bool:
    dataset = content.get("dataset") if isinstance(content, dict) else None
    wanted = {"owner", "name", "task_type", "task_attributes", "samples"}
    return isinstance(dataset, dict) and "name" in content and wanted <= set(dataset)


def _refuse_unusable(dataset: Mapping[str, Any], labelset: str) -> None:
    sets = [item["name"] for item in dataset.get("labelsets", [])]
    if sets and labelset not in sets:
        raise DatasetError(
            "The release has no such label set",
            got=labelset,
            known=sets,
            remedy="Name one of these in source.labelset",
        )
    if dataset["task_type"] not in _TASKS:
        raise DatasetError(
            "The release holds no bitmaps of segments",
            got=dataset["task_type"],
            known=_TASKS,
            remedy="Export vectors as COCO, for `kind: folder` with `values: {kind: coco}`",
        )


def _suffix(attribute: Mapping[str, Any], otherwise: str) -> str:
    """Return the suffix that the SDK gives a file: that of its address."""
    return PurePosixPath(urlparse(attribute.get("url") or otherwise).path).suffix


def _file(folder: Path, name: str) -> FileBlob | Absent:
    path = folder / name
    return FileBlob(path) if path.is_file() else Absent(f"is not there ({name})")
