"""The images of a folder as shards: examined first, then stored.

The encoded bytes of an image are stored as they are. Masks are written anew, as PNG of training
ids. All that is wrong is told at once, before anything is stored.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.example import Task
from wsi_vit.datasets.folder import FolderImage, FolderSource, refuse
from wsi_vit.datasets.shards import (
    encoded,
    in_batches,
    label_features,
    mask_features,
    pixel_features,
    write_stream,
)
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.store import Artefact, Shape, Store, digest_of, file_digest


def store_images(images: Sequence[FolderImage], source: FolderSource, store: Store) -> Artefact:
    """Return the shard of the images' pixels (stage `images`), written only where it is missing."""

    def make(folder: Path) -> dict[str, Any]:
        batches = (_pixel_columns(batch, source.mpp) for batch in in_batches(images))
        return {"images": write_stream(folder / "images.arrow", pixel_features(), batches)}

    return store.ensure(_pixels_shape(images, source), make)


def store_labels(
    images: Sequence[FolderImage],
    source: FolderSource,
    *,
    labels: LabelMap,
    task: Task,
    store: Store,
) -> Artefact:
    """Return the shard of the images' classes or masks (stage `image-labels`).

    Raises:
        DatasetError: Images or masks that cannot be used; all at once, and nothing is stored.
    """

    def make(folder: Path) -> dict[str, Any]:
        refuse([p for image in images for p in faults_of(image, source, labels, task)], source.root)
        features = mask_features() if task == "segmentation" else label_features(labels)
        batches = (_label_columns(batch, source, labels, task) for batch in in_batches(images))
        return {"images": write_stream(folder / "labels.arrow", features, batches)}

    return store.ensure(_labels_shape(images, source, labels, task), make)


def faults_of(
    image: FolderImage, source: FolderSource, labels: LabelMap, task: Task
) -> Iterator[str]:
    """Yield what keeps one image from being used."""
    size = None
    try:
        size = decoded(image.path, "RGB").shape[:2]
    except ValueError as error:
        yield f"{image.relative}: {error}"
    if task == "segmentation":
        yield from _mask_faults(image, source, labels, size)
    elif _class_of(image, source, labels) is None and source.unknown == "refuse":
        yield f"{image.relative}: the label map gathers no {image.word!r}"


def decoded(path: Path, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """Decode an image file to (h, w, 3) RGB, or a mask to (h, w) of its own values.

    Raises:
        ValueError: It cannot be decoded to the end, or holds more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"{picture.mode} pixels, not 8 bits a channel")
            # A palette image's indices are its ids; converting to L would make them greys.
            as_is = mode == "L" and picture.mode in {"P", "L"}
            return np.asarray(picture if as_is else picture.convert(mode))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be decoded ({error.__class__.__name__})") from error


def _class_of(image: FolderImage, source: FolderSource, labels: LabelMap) -> int | None:
    found = labels.id_of_source(image.word)
    if found is None and image.word.isdecimal():
        found = labels.id_of_source(int(image.word))
    if found is None and source.unknown == "background":
        return labels.background_id
    return found


def _mask_faults(
    image: FolderImage, source: FolderSource, labels: LabelMap, size: tuple[int, ...] | None
) -> Iterator[str]:
    if image.mask is None or not image.mask.is_file():
        told = str(image.mask).removeprefix(f"{source.root}/")
        expected = told if image.mask else "no rule finds one"
        yield f"{image.relative}: no mask ({expected})"
        return
    try:
        values = _source_ids(image.mask, source)
    except ValueError as error:
        yield f"{image.relative}: its mask {error}"
        return
    if size is not None and values.shape != size:
        yield f"{image.relative}: its mask is {values.shape}, not {size} (height, width)"
    strange = [
        int(value)
        for value in np.unique(values)
        if value != IGNORE_ID and labels.id_of_source(int(value)) is None
    ]
    if strange and source.unknown == "refuse":
        shown = ", ".join(str(value) for value in strange[:8])
        more = " …" if strange[8:] else ""
        yield f"{image.relative}: mask values that the label map does not gather: {shown}{more}"


def _source_ids(path: Path, source: FolderSource) -> NDArray[np.uint8]:
    threshold = source.mask.threshold if source.mask else None
    if threshold is not None:
        return (decoded(path, "L") > threshold).astype(np.uint8)
    from PIL import Image

    values = decoded(path, "L")
    with Image.open(path) as picture:
        mode = picture.mode
    if mode == "1":  # black and white, which would be read as 0 and 255, "ignored"
        return (values > 0).astype(np.uint8)
    if mode not in {"L", "LA", "P"} and (decoded(path, "RGB") != values[..., None]).any():
        raise ValueError("is coloured; ids are grey values, or indices of a palette")
    return values


def _pixel_columns(images: Sequence[FolderImage], mpp: float | None) -> Mapping[str, Any]:
    zeros, unknown = [0.0] * len(images), [None] * len(images)
    return {
        "image": [encoded(image.path.read_bytes()) for image in images],
        "slide_id": [image.slide_id for image in images],
        "x": zeros,
        "y": zeros,
        "mpp": [mpp] * len(images),
        "tissue": unknown,
        "quality": unknown,
    }


def _label_columns(
    images: Sequence[FolderImage], source: FolderSource, labels: LabelMap, task: Task
) -> Mapping[str, Any]:
    if task == "classification":
        return {"label": [_class_of(image, source, labels) for image in images]}
    other = labels.background_id if source.unknown == "background" else None
    masks = [
        labels.narrow(_source_ids(image.mask, source), other=IGNORE_ID if other is None else other)
        for image in images
        if image.mask is not None
    ]
    return {"mask": [encoded(png_of(mask)) for mask in masks]}


def png_of(mask: NDArray[np.uint8]) -> bytes:
    """Encode a mask of training ids (h, w) as an 8-bit PNG; the same mask gives the same bytes."""
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(mask).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _listed(images: Sequence[FolderImage]) -> str:
    return digest_of([[image.slide_id, file_digest(image.path)] for image in images])


def _pixels_shape(images: Sequence[FolderImage], source: FolderSource) -> Shape:
    return Shape.of("images", 1, sections={"mpp": source.mpp}, inputs={"images": _listed(images)})


def _labels_shape(
    images: Sequence[FolderImage], source: FolderSource, labels: LabelMap, task: Task
) -> Shape:
    inputs = {"images": _listed(images)}
    sections = {"labels": labels, "task": task, "unknown": source.unknown}
    if task == "segmentation":
        sections["threshold"] = source.mask.threshold if source.mask else None
        present = [
            file_digest(image.mask) if image.mask and image.mask.is_file() else ""
            for image in images
        ]
        inputs["masks"] = digest_of(present)
    else:
        sections["words"] = digest_of([image.word for image in images])
    return Shape.of("image-labels", 2, sections=sections, inputs=inputs)
