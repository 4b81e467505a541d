"""What the tiles of a slide are labelled with, from its annotations: the stage `tile-labels`."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wsi_vit.errors import AnnotationError, LabelError
from wsi_vit.geometry import Region
from wsi_vit.labels import IGNORE_ID, LabelMap, present
from wsi_vit.section import Section
from wsi_vit.slides import columns
from wsi_vit.slides.annotations import Annotations, read_annotations
from wsi_vit.store import Artefact, Shape, Store, file_digest

if TYPE_CHECKING:
    import pyarrow

VERSION = 1

Task = Literal["classification", "segmentation", "multi_label"]

_ROWS_A_BATCH = 256


class LabellingSection(Section):
    """How annotations become labels of tiles."""

    min_coverage: float = Field(default=0.5, gt=0, le=1)
    """Share of a tile that its class must cover; below it the tile stays unlabelled."""
    least_share: float = Field(default=0.05, gt=0, le=1)
    """Where tiles have several labels: share of a tile from which on one is there. It is absent
    where it could not cover so much even if all that is unknown were of it, else not known."""
    outside: Literal["ignore", "background"] = "ignore"
    """What lies outside every annotation: unknown, or (exhaustive annotations) background, which
    is none of several labels."""
    min_overlap: float = Field(default=0.01, ge=0, le=1)
    """Least share of the tiles' area that must be annotated; less looks like a wrong scale."""

    def shaping(self, task: Task) -> dict[str, Any]:
        """Return the settings that decide the labels of a task."""
        other = "min_coverage" if task == "multi_label" else "least_share"
        return self.model_dump(mode="json", exclude={other})


def label_tiles(
    tiles: Artefact,
    annotations: Path,
    *,
    labels: LabelMap,
    task: Task,
    section: LabellingSection,
    store: Store,
) -> Artefact:
    """Label the tiles of a slide, or find that it was done already.

    The artefact holds `labels.arrow`, an Arrow stream with one row a tile in the tiles' order:
    `label` (training id, null where unlabelled), `mask` (PNG of training ids as large as the tile,
    255 is ignored; null where nothing is annotated), or `labels` and `unknown` (lists of training
    ids: what is present, and what cannot be told; null where nothing can). Its facts count what was
    found.

    Args:
        tiles: An artefact of the stage `tiles`.
        annotations: Any file that `read_annotations` reads.
        labels: Gathers the names or values in the file.
        task: Whether tiles get a class, a mask, or several labels.
        section: How they get it.
        store: Where the labels are kept.

    Raises:
        AnnotationError: The annotations cannot be used, or hardly touch the tiles.
        LabelError: What is outside is to be background, and the label map has none.
    """
    if section.outside == "background" and labels.background is None and task != "multi_label":
        raise LabelError(
            "What lies outside the annotations is to be background, but no class stands for it",
            known=labels.names,
            remedy="Name the label map's `background`, or set `outside: ignore`",
        )
    if not annotations.is_file():
        raise AnnotationError(
            "No such annotation file", got=annotations, remedy="Check the cohort's path"
        )
    shape = Shape.of(
        "tile-labels",
        VERSION,
        sections={"labelling": section.shaping(task), "labels": labels, "task": task},
        inputs={"tiles": tiles.digest, "annotations": file_digest(annotations)},
    )

    def make(folder: Path) -> dict[str, Any]:
        size = (int(tiles.facts["width"]), int(tiles.facts["height"]))
        drawn = read_annotations(annotations, slide_size=size, labels=labels)
        regions = tile_regions(tiles)
        coverage = drawn.coverage(regions)
        _refuse_strangers(coverage, annotations, section)
        if task == "classification":
            found = _write_classes(folder, coverage, labels, section)
        elif task == "multi_label":
            found = _write_presence(folder, coverage, labels, section)
        else:
            found = _write_masks(folder, drawn, tiles, labels, section)
        return {**found, "tiles": len(regions), "notes": list(drawn.notes)}

    return store.ensure(shape, make)


def tile_regions(tiles: Artefact) -> list[Region]:
    """Return where the tiles of an artefact lie, in base pixels, in their order."""
    import pyarrow

    side = float(tiles.facts["grid"]["side"])
    with pyarrow.memory_map(str(tiles.folder / "tiles.arrow")) as source:
        table = pyarrow.ipc.open_stream(source).read_all().select(["x", "y"])
        positions = zip(table["x"].to_pylist(), table["y"].to_pylist(), strict=True)
        return [Region(x, y, side, side) for x, y in positions]


def choose_classes(
    coverage: NDArray[np.float64], labels: LabelMap, section: LabellingSection
) -> NDArray[np.int64]:
    """Return the training id of each tile, -1 where no class covers enough of it.

    Args:
        coverage: Share of each tile that each class covers, shape (tiles, classes).
        labels: Says which class stands for background.
        section: The least share; whether the rest of a tile is background.
    """
    shares = coverage.copy()
    if section.outside == "background" and labels.background_id is not None:
        shares[:, labels.background_id] += (1 - coverage.sum(axis=1)).clip(0)
    best = shares.argmax(axis=1)
    enough = shares.max(axis=1) >= section.min_coverage - 1e-9  # 0.5 summed from parts is 0.5
    return np.where(enough, best, -1)


def choose_labels(coverage: NDArray[np.float64], section: LabellingSection) -> NDArray[np.uint8]:
    """Return what is known of each label in each tile: 1 present, 0 absent, 255 not known.

    Args:
        coverage: Share of each tile that each label covers, shape (tiles, labels).
        section: The least share; whether what is not annotated is none of the labels.
    """
    unseen = (1 - coverage.sum(axis=1)).clip(0)
    unknown = unseen if section.outside == "ignore" else np.zeros(len(coverage))
    return present(coverage, unknown, least_share=section.least_share)


def _refuse_strangers(
    coverage: NDArray[np.float64], annotations: Path, section: LabellingSection
) -> None:
    share = float(coverage.sum(axis=1).mean()) if len(coverage) else 0.0
    if share < section.min_overlap:
        raise AnnotationError(
            f"The annotations cover {share:.2%} of the tiles' area; another slide's, or positions "
            "at another scale, look like this",
            got=annotations,
            remedy="Positions must be pixels of level 0. If so little is annotated on purpose, "
            f"lower labelling.min_overlap (now {section.min_overlap:g})",
        )


def _write_classes(
    folder: Path, coverage: NDArray[np.float64], labels: LabelMap, section: LabellingSection
) -> dict[str, Any]:
    ids = choose_classes(coverage, labels, section)
    rows = ({"label": None if index < 0 else index} for index in ids.tolist())
    _write_stream(folder, {"label": _class_feature(labels)}, columns.integers, rows)
    counts = np.bincount(ids[ids >= 0], minlength=len(labels))
    return {
        "counts": dict(zip(labels.names, counts.tolist(), strict=True)),
        "unlabelled": int((ids < 0).sum()),
    }


def _write_presence(
    folder: Path, coverage: NDArray[np.float64], labels: LabelMap, section: LabellingSection
) -> dict[str, Any]:
    shown = choose_labels(coverage, section)
    several = {"feature": _class_feature(labels), "_type": "List"}
    rows = (_lists(tile) for tile in shown)
    _write_stream(folder, {"labels": several, "unknown": several}, columns.lists, rows)
    return {
        "counts": dict(zip(labels.names, (shown == 1).sum(axis=0).tolist(), strict=True)),
        "unlabelled": int((shown == IGNORE_ID).all(axis=1).sum()),
    }


def _lists(tile: NDArray[np.uint8]) -> dict[str, list[int] | None]:
    """Return what is present in a tile and what cannot be told; nothing where nothing can."""
    if (tile == IGNORE_ID).all():
        return {"labels": None, "unknown": None}
    return {
        "labels": np.flatnonzero(tile == 1).tolist(),
        "unknown": np.flatnonzero(tile == IGNORE_ID).tolist(),
    }


def _class_feature(labels: LabelMap) -> dict[str, Any]:
    return {"names": list(labels.names), "_type": "ClassLabel"}


def _write_masks(
    folder: Path,
    drawn: Annotations,
    tiles: Artefact,
    labels: LabelMap,
    section: LabellingSection,
) -> dict[str, Any]:
    counts, unlabelled = np.zeros(256, np.int64), 0
    background = labels.background_id if section.outside == "background" else None
    other = IGNORE_ID if background is None else background
    side = int(tiles.facts["grid"]["tile_px"])

    def rows() -> Iterator[dict[str, bytes | None]]:
        nonlocal unlabelled
        for region in tile_regions(tiles):
            mask = drawn.mask(region, width_px=side, height_px=side, other=other)
            if (mask == IGNORE_ID).all():
                unlabelled += 1
                yield {"mask": None}
                continue
            counts[:] += np.bincount(mask.ravel(), minlength=256)
            yield {"mask": encode_png(mask)}

    _write_stream(folder, {"mask": {"_type": "Image"}}, columns.pictures_or_nulls, rows())
    return {
        "counts": dict(zip(labels.names, counts[: len(labels)].tolist(), strict=True)),
        "ignored": int(counts[IGNORE_ID]),
        "unlabelled": unlabelled,
    }


def encode_png(mask: NDArray[np.uint8]) -> bytes:
    """Return a grey PNG of a mask (height, width), without loss and without a date."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(mask).save(sink, format="PNG", compress_level=6)
    return sink.getvalue()


def _write_stream(
    folder: Path,
    features: dict[str, Any],
    lay: "Callable[[list[Any]], pyarrow.Array]",
    rows: Iterator[Mapping[str, Any]],
) -> None:
    """Write columns, all laid in one way, as an Arrow stream that `datasets` maps into memory."""
    import pyarrow

    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pyarrow.schema([(name, lay([]).type) for name in features], metadata=metadata)
    path = str(folder / "labels.arrow")
    with pyarrow.OSFile(path, "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        while batch := list(islice(rows, _ROWS_A_BATCH)):
            laid = [lay([row[name] for row in batch]) for name in features]
            stream.write_batch(pyarrow.RecordBatch.from_arrays(laid, schema=schema))
