"""The images of a source as shards: examined and chosen first, then stored.

The encoded bytes of an image are stored as they are. Masks are written anew, as PNG of training
ids. All that is wrong is told at once, and then nothing is stored.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.example import Task
from wsi_vit.datasets.image_targets import Target, TargetReader
from wsi_vit.datasets.images import ImageSource, SourceImage, refuse
from wsi_vit.datasets.shards import (
    PRESENT,
    ROWS_A_BATCH,
    UNKNOWN,
    encoded,
    in_batches,
    pixel_features,
    target_features,
    write_stream,
)
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.store import Artefact, Shape, Store, digest_of

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShards:
    """The two shards of a source, and the images they hold, in the same order."""

    pixels: Artefact
    """Stage `images`."""
    labels: Artefact
    """Stage `image-labels`; its facts say what was dropped and why."""
    images: tuple[SourceImage, ...]


def store_shards(source: ImageSource, *, labels: LabelMap, task: Task, store: Store) -> ImageShards:
    """Return the shards of a source's images, each written only where it is missing.

    Raises:
        DatasetError: Images or masks that cannot be used; all at once, and nothing is stored.
        LabelError: The label map does not fit the source's name list.
    """
    reader, images = TargetReader.of(source, labels, task), source.find()
    _refuse_twins(source, images)
    digests = ["" if image.left_out else image.pixels.digest() for image in images]
    chooser = _Chooser(images, digests, reader)
    shape = _labels_shape(chooser)
    annotated = store.ensure(shape, chooser.write)
    kept = [(images[place], digests[place]) for place in annotated.facts["kept"]]
    return ImageShards(
        pixels=_store_pixels(kept, source, store),
        labels=annotated,
        images=tuple(image for image, _ in kept),
    )


def _refuse_twins(source: ImageSource, images: Sequence[SourceImage]) -> None:
    places = defaultdict[str, list[str]](list)
    for image in images:
        places[image.slide_id].append(image.relative)
    twins = [
        f"{', '.join(found)}: two images of one name" for found in places.values() if len(found) > 1
    ]
    refuse(twins, source.root)


@dataclass(slots=True)
class _Chooser:
    """Goes through the images once: examines, drops, caps, and writes what stays."""

    images: Sequence[SourceImage]
    digests: Sequence[str]
    reader: TargetReader
    problems: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the shard of labels into a scratch folder; return its facts."""
        task, source = self.reader.task, self.reader.source
        features, kept = target_features(self.reader.labels, task), list[int]()

        def cells() -> Iterator[Mapping[str, Any]]:
            for place, row in self._chosen():
                kept.append(place)
                yield row

        batches = (
            {name: [row[name] for row in batch] for name in features} for batch in _batched(cells())
        )
        rows = write_stream(folder / "labels.arrow", features, batches)
        refuse(self.problems, source.root)
        return {
            "images": rows,
            "found": len(self.images),
            "kept": kept,
            "dropped": {
                reason: {"images": len(names), "first": names[:_MOST_NAMED]}
                for reason, names in sorted(self.dropped.items())
            },
            **self.reader.facts,
        }

    def _chosen(self) -> Iterable[tuple[int, Any]]:
        """Return the places of the images that stay, in the source's order, with their labels."""
        rows = self.reader.source.rows
        places = [place for place, image in enumerate(self.images) if self._is_offered(image)]
        if rows is None:
            return self._examined(places)
        by_digest = sorted(places, key=lambda place: (self.digests[place], place))
        chosen = list(islice(self._examined(by_digest), rows))
        if len(chosen) == rows:
            beyond = sorted(by_digest[by_digest.index(chosen[-1][0]) + 1 :])
            self.dropped["beyond `rows`"] += [self.images[place].relative for place in beyond]
        return sorted(chosen, key=lambda item: item[0])

    def _is_offered(self, image: SourceImage) -> bool:
        if image.left_out:
            self.dropped[image.left_out].append(image.relative)
        return not image.left_out

    def _examined(self, places: Iterable[int]) -> Iterator[tuple[int, Any]]:
        for place in places:
            found = self.reader.examine(self.images[place])
            self.problems += found.faults
            if found.faults:
                continue
            if self._is_dropped(found.target):
                self.dropped["background only"].append(self.images[place].relative)
                continue
            yield place, _row(found.target)

    def _is_dropped(self, target: Target) -> bool:
        return self.reader.source.background_only == "drop" and self.reader.is_background(target)


def _row(target: Target) -> Mapping[str, Any]:
    """Return the cells of a target, by column."""
    if not isinstance(target, np.ndarray):
        return {"label": target}
    if target.ndim == 2:
        return {"mask": encoded(png_of(target))}
    unknown = np.flatnonzero(target == IGNORE_ID).tolist()
    return {PRESENT: np.flatnonzero(target == 1).tolist(), UNKNOWN: unknown}


def png_of(mask: NDArray[np.uint8]) -> bytes:
    """Encode a mask of training ids (h, w) as an 8-bit PNG; the same mask gives the same bytes."""
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(mask).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _store_pixels(
    kept: Sequence[tuple[SourceImage, str]], source: ImageSource, store: Store
) -> Artefact:
    def make(folder: Path) -> dict[str, Any]:
        images = [image for image, _ in kept]
        batches = (_pixel_columns(batch, source.mpp) for batch in in_batches(images))
        return {"images": write_stream(folder / "images.arrow", pixel_features(), batches)}

    listed = digest_of([[image.slide_id, digest] for image, digest in kept])
    shape = Shape.of("images", 2, sections={"mpp": source.mpp}, inputs={"images": listed})
    return store.ensure(shape, make)


def _pixel_columns(images: Sequence[SourceImage], mpp: float | None) -> Mapping[str, Any]:
    zeros, unknown = [0.0] * len(images), [None] * len(images)
    return {
        "image": [encoded(image.image_bytes()) for image in images],
        "slide_id": [image.slide_id for image in images],
        "x": zeros,
        "y": zeros,
        "mpp": [mpp] * len(images),
        **dict.fromkeys(("tissue", "quality", "blur", "pen", "dark", "glass"), unknown),
    }


def _batched(cells: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(cells, ROWS_A_BATCH)):
        yield batch


def _labels_shape(chooser: _Chooser) -> Shape:
    reader, images = chooser.reader, chooser.images
    listed = [
        [image.slide_id, image.left_out, digest]
        for image, digest in zip(images, chooser.digests, strict=True)
    ]
    sections: dict[str, Any] = {
        "labels": reader.labels,
        "task": reader.task,
        "choice": reader.source.model_dump(
            mode="json", include={"unknown", "ignored", "background_only", "rows"}
        ),
        "names": digest_of(dict(reader.names)) if reader.names is not None else None,
    }
    inputs = {"images": digest_of(listed)}
    if reader.source.has_masks_for(reader.task):
        masks = [image.mask.digest() if image.mask else "" for image in images]
        inputs["masks"] = digest_of(masks)
        if reader.task == "multi_label":
            sections["least_share"] = reader.source.least_share
    elif reader.task == "multi_label":
        sections["told"] = digest_of([dict(image.told or {}) for image in images])
    else:
        sections["words"] = digest_of([image.word for image in images])
    return Shape.of("image-labels", 3, sections=sections, inputs=inputs)
