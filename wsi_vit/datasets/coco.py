"""COCO annotations as masks of category ids.

Follows the format and `maskApi.c` of github.com/cocodataset/cocoapi: several polygons of one
annotation are one region; holes and crowds are run lengths, column by column, as a list or as the
packed text. A crowd is painted as its category. Later annotations cover earlier ones.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import DatasetError
from wsi_vit.store import digest_of

_FINER = 5.0
"""`maskApi.c` follows outlines on a grid five times finer than the pixels."""

_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CocoMasks:
    """The annotations of one file or several, by image."""

    paths: tuple[Path, ...]
    names: Mapping[str, int]
    """Category name -> source id; 0 is what no annotation covers."""
    _images: Mapping[str, tuple[tuple[int, int], tuple[tuple[int, Any], ...]]]

    def read(self, name: str) -> NDArray[np.int32]:
        """Return source ids (h, w) of an image, by its path below the root or its bare name.

        Raises:
            ValueError: The file does not name the image, or an outline of it makes no sense.
        """
        entry = self._entry(name)
        if entry is None:
            raise ValueError(f"is not named in {self.paths[0].name}")
        (height, width), regions = entry
        ids = np.zeros((height, width), np.int32)
        for number, outline in regions:
            ids[_painted(outline, height, width)] = number
        return ids

    def digest(self, name: str) -> str:
        """Return what decides an image's mask: its size and outlines; empty text for no image."""
        entry = self._entry(name)
        return digest_of(entry) if entry else ""

    def _entry(self, name: str) -> tuple[tuple[int, int], tuple[tuple[int, Any], ...]] | None:
        return self._images.get(name) or self._images.get(PurePosixPath(name).name)


def read_coco(root: Path, pattern: str) -> CocoMasks:
    """Read the files of annotations that a glob finds below a root.

    A file in a folder of its own (`train/annotations.json`) names the images of that folder.

    Raises:
        DatasetError: There is none, one is no COCO file or contradicts itself, or they number their
            categories differently; all faults of a file at once.
    """
    paths = sorted(root.glob(pattern)) or [root / pattern]
    found = [_read(path, path.parent.relative_to(root)) for path in paths]
    names = found[0][0]
    unlike = [path for path, (others, _) in zip(paths, found, strict=True) if others != names]
    if unlike:
        raise DatasetError(
            "Files of COCO annotations number their categories differently",
            got=", ".join(str(path.relative_to(root)) for path in unlike[:_MOST_SHOWN]),
            known=[f"{number} {name}" for name, number in names.items()],
            remedy=f"Export them together, so that all are as {paths[0].relative_to(root)}",
        )
    sized = [entry for _, entries in found for entry in entries]
    return CocoMasks(tuple(paths), names, {**_by_bare_name(sized), **dict(sized)})


def _read(path: Path, folder: Path) -> tuple[dict[str, int], list[tuple[str, Any]]]:
    """Return one file's categories, and its images by their paths below the root."""
    content = _content(path)
    faults = list(_faults(content))
    if faults:
        shown = "; ".join(faults[:_MOST_SHOWN])
        more = f"; and {len(faults) - _MOST_SHOWN} more" if faults[_MOST_SHOWN:] else ""
        raise DatasetError(
            f"{len(faults)} faults in the COCO annotations: {shown}{more}",
            got=path,
            remedy="Export it again, or mend the file",
        )
    regions = defaultdict[Any, list[tuple[int, Any]]](list)
    for item in content["annotations"]:
        regions[item["image_id"]].append((item["category_id"], item["segmentation"]))
    sized = [
        (
            (folder / item["file_name"]).as_posix(),
            ((item["height"], item["width"]), tuple(regions[item["id"]])),
        )
        for item in content["images"]
    ]
    return {item["name"]: item["id"] for item in content["categories"]}, sized


def _by_bare_name(sized: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return entries by file name alone, where that says which image is meant."""
    bare = [(PurePosixPath(name).name, entry) for name, entry in sized]
    times = Counter(name for name, _ in bare)
    return {name: entry for name, entry in bare if times[name] == 1}


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The COCO annotations cannot be read ({error.__class__.__name__})",
            got=path,
            remedy="Name an existing JSON file in source.mask.values.file",
        ) from error
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(not _records(content.get(p)) for p in parts):
        raise DatasetError(
            "This is no COCO file of annotated objects",
            got=path,
            known=parts,
            remedy="Export the annotations as `COCO instances`",
        )
    return content


def _records(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(item, dict) for item in part)


def _faults(content: Mapping[str, Any]) -> Iterator[str]:
    needs = {
        "images": {"id": int | str, "file_name": str, "height": int, "width": int},
        "categories": {"id": int, "name": str},
        "annotations": {"image_id": int | str, "category_id": int, "segmentation": list | dict},
    }
    lacking = [
        f"{part}[{index}] has no proper {name}"
        for part, fields in needs.items()
        for index, item in enumerate(content[part])
        for name, kind in fields.items()
        if not isinstance(item.get(name), kind)
    ]
    yield from lacking or _contradictions(content)


def _contradictions(content: Mapping[str, Any]) -> Iterator[str]:
    for part, field in (("images", "id"), ("images", "file_name"), ("categories", "id")):
        times = Counter(item[field] for item in content[part])
        yield from (f"{part}: {field} {value!r} twice" for value, n in times.items() if n > 1)
    times = Counter(item["name"] for item in content["categories"])
    yield from (f"categories: name {name!r} twice" for name, n in times.items() if n > 1)
    images = {item["id"] for item in content["images"]}
    categories = {item["id"] for item in content["categories"]}
    for index, item in enumerate(content["annotations"]):
        if item["image_id"] not in images:
            yield f"annotations[{index}] is of no image ({item['image_id']!r})"
        if item["category_id"] not in categories:
            yield f"annotations[{index}] is of no category ({item['category_id']})"
        if item["category_id"] == 0:
            yield f"annotations[{index}] is of category 0, which stands for no category"


def _painted(outline: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels (h, w) of one annotation."""
    if isinstance(outline, Mapping):
        return _from_runs(outline, height, width)
    region = np.zeros((height, width), bool)
    for ring in outline:
        region |= _filled(ring, height, width)
    return region


def _from_runs(outline: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    size, counts = outline.get("size"), outline.get("counts")
    if size != [height, width]:
        raise ValueError(f"has run lengths of size {size}, not {[height, width]}")
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or any(not isinstance(n, int) or n < 0 for n in runs):
        raise ValueError("has run lengths that are no counts")
    if sum(runs) != height * width:
        raise ValueError(f"has run lengths of {sum(runs)} pixels, not {height * width}")
    values = np.arange(len(runs)) % 2 == 1  # the first run is outside
    return np.repeat(values, runs).reshape(width, height).T


def _unpacked(text: str) -> list[int]:
    """Return the run lengths of a packed text (`rleFrString`): 5 bits a sign, from 48 on.

    From the third run on, what is packed is the difference to the run before the last.
    """
    runs, value, shift = list[int](), 0, 0
    for code in text.encode():
        value |= (code - 48 & 0x1F) << shift
        shift += 5
        if code - 48 & 0x20:
            continue
        if code - 48 & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    return runs


def _filled(ring: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Fill one polygon x, y, x, y, … in pixels (`rleFrPoly`, to the same pixels).

    Each place where the outline crosses into another column of pixels turns all that follows in
    the order of columns from outside to inside, or back.
    """
    if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
        raise ValueError("has a polygon that is no list of at least three points x, y")
    try:
        points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        points = np.array([[np.nan]])
    if not np.isfinite(points).all():
        raise ValueError("has a polygon with coordinates that are no numbers")
    u, v = _traced((_FINER * points + 0.5).astype(np.int64))
    moved = u[1:] != u[:-1]
    x = (np.minimum(u[1:], u[:-1])[moved] + 0.5) / _FINER - 0.5
    y = (np.minimum(v[1:], v[:-1])[moved] + 0.5) / _FINER - 0.5
    on_grid = (x == np.floor(x)) & (x >= 0) & (x <= width - 1)
    turns = x[on_grid].astype(np.int64) * height
    turns += np.ceil(y[on_grid].clip(0, height)).astype(np.int64)
    counts = np.bincount(turns, minlength=height * width + 1)[: height * width]
    return (np.cumsum(counts) % 2 == 1).reshape(width, height).T


def _traced(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Walk a closed outline in steps of one on the finer grid; columns and rows visited."""
    walked = [
        _line(start, end) for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True)
    ]
    return np.concatenate([u for u, _ in walked]), np.concatenate([v for _, v in walked])


def _line(
    start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the steps of one edge; it is walked from its lower end, so neighbours agree."""
    across, down = np.abs(end - start).tolist()
    axis = 0 if across >= down else 1
    flipped = bool(start[axis] > end[axis])
    low, high = (end, start) if flipped else (start, end)
    steps = np.arange(max(across, down) + 1)
    slope = float(high[1 - axis] - low[1 - axis]) / max(across, down, 1)
    along, beside = steps + low[axis], (low[1 - axis] + slope * steps + 0.5).astype(np.int64)
    if flipped:
        along, beside = along[::-1], beside[::-1]
    return (along, beside) if axis == 0 else (beside, along)
