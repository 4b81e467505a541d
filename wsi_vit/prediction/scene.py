"""Predict plain pictures: a class map or a label for each, beside a picture of it.

Pixels are taken as they are stored in the file (no rotation by EXIF), so that the class map lies on
the file's own pixels. A picture that cannot be read is named, and the others go on.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsi_vit.prediction.applied import AppliedModel, Pixels, load_applied
from wsi_vit.prediction.drawing import (
    Heading,
    LegendEntry,
    Panel,
    class_legend,
    draw_sheet,
    overlay,
)
from wsi_vit.prediction.pictures import decode, find_images, indexed_png, named_images, resized
from wsi_vit.prediction.record import provenance
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.stitch import Band, BandBlender
from wsi_vit.section import Section
from wsi_vit.slides.tiles import Progress
from wsi_vit.store import file_digest, write_whole

_TILED_FROM = 2
"""Pictures longer than this many model inputs are tiled; shorter ones are resized inside it."""


class ImageOutcome(Section):
    """What became of one picture."""

    path: Path
    state: Literal["predicted", "reused", "refused"]
    message: str = ""
    """For a refused picture: what was wrong and what to do."""
    record: Path | None = None
    """Its JSON; the pictures lie beside it."""
    overlay: Path | None = None
    shares: dict[str, float] = {}  # noqa: RUF012  (pydantic copies it)
    """Share of the picture that each class covers; for classification the scores."""


def predict_images(
    model: AppliedModel | Path,
    paths: Sequence[Path],
    *,
    out: Path,
    section: PredictionSection | None = None,
    progress: Progress | None = None,
) -> list[ImageOutcome]:
    """Predict pictures, or all pictures of folders, in the order given (folders by name).

    Each gets `<name>.json` (written last), `<name>.overlay.png` and, for segmentation,
    `<name>.classes.png`: indexed colours, the pixel's value is the export id. What the same model
    has predicted before is not predicted again.

    Raises:
        UsageError: There is no picture at all.
        ModelError: The model cannot be loaded, or gives no scores.
    """
    applied = load_applied(model) if isinstance(model, Path) else model
    found = list(find_images(paths))
    outcomes: list[ImageOutcome] = []
    for done, (name, path) in enumerate(named_images(found), start=1):
        target = _Target(applied, section or PredictionSection(), out, name)
        outcomes.append(target.predict(path))
        if progress:
            progress(done, len(found))
    return outcomes


def score_picture(
    applied: AppliedModel, image: Pixels, section: PredictionSection
) -> NDArray[np.float32]:
    """Return the scores of a picture of any size: (classes, H, W), or (classes,).

    A segmented picture longer than twice the model's input is tiled at its own resolution and
    blended; others are brought to the model's input, and its scores back, by the model itself.
    """
    side = applied.model.input_px
    if applied.model.task == "classification" or max(image.shape[:2]) <= _TILED_FROM * side:
        return applied.scores([image])[0]
    stride = max(1, round(side * (1 - section.overlap)))
    blender = BandBlender(
        classes=len(applied.model.labels),
        width_px=image.shape[1],
        tile_px=side,
        stride_px=stride,
    )
    bands: list[Band] = []
    for tiles in _rows_of_tiles(image, side, stride):
        column = 0
        while batch := list(islice(tiles, section.batch_size)):
            for scores in applied.scores(batch):
                blender.add(scores, left=column * stride)
                column += 1
        bands.append(blender.finish_row())
    bands.append(blender.finish())
    return np.concatenate([band.scores for band in bands], axis=1)[:, : image.shape[0]]


def _rows_of_tiles(image: Pixels, side: int, stride: int) -> Iterator[Iterator[Pixels]]:
    """Yield rows of square tiles that cover the picture, mirrored beyond its far edges.

    What is mirrored is only context for the model: its scores are cut off again.
    """
    counts = [max(0, -(-(length - side) // stride)) + 1 for length in image.shape[:2]]
    beyond = [
        (0, (count - 1) * stride + side - length)
        for count, length in zip(counts, image.shape[:2], strict=True)
    ]
    padded = np.pad(image, [*beyond, (0, 0)], mode="symmetric")
    for row in range(counts[0]):
        strip = padded[row * stride : row * stride + side]
        yield iter([strip[:, c * stride : c * stride + side] for c in range(counts[1])])


class _Target:
    """Where one picture's prediction goes."""

    def __init__(
        self, applied: AppliedModel, section: PredictionSection, out: Path, name: str
    ) -> None:
        self._applied, self._section = applied, section
        self._labels = applied.model.labels
        self.record = out / f"{name}.json"
        self.classes = out / f"{name}.classes.png"
        self.overlay = out / f"{name}.overlay.png"

    def predict(self, path: Path) -> ImageOutcome:
        try:
            image = decode(path)
        except ValueError as error:
            return ImageOutcome(
                path=path,
                state="refused",
                message=f"{path.name} cannot be read ({error}). Copy it again, or leave it out.",
            )
        asked = self._asked(path, image)
        found = self._found(asked)
        if found is not None:
            return self._outcome(path, "reused", found)
        found = {**asked, **self._make(image, path.name)}
        found["provenance"] = provenance(self._applied.device.type).model_dump(mode="json")
        with write_whole(self.record) as scratch:
            scratch.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return self._outcome(path, "predicted", found)

    def _asked(self, path: Path, image: Pixels) -> dict[str, Any]:
        height, width = image.shape[:2]
        sha256 = file_digest(path)
        return {
            "image": {"file": path.name, "sha256": sha256, "width": width, "height": height},
            "model": {"digest": self._applied.digest, "task": self._applied.model.task},
            "settings": self._section.shaping(),
        }

    def _found(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Return the earlier result, if it answers the same question and its files are whole."""
        if not self.record.is_file():
            return None
        try:
            found = json.loads(self.record.read_text())
        except ValueError:
            return None  # not ours, or damaged: made anew
        same = all(found.get(key) == value for key, value in asked.items())
        files: dict[str, str] = found.get("files", {}) if same else {}
        folder = self.record.parent
        whole = files and all(
            (folder / name).is_file() and file_digest(folder / name) == sha256
            for name, sha256 in files.items()
        )
        return found if whole else None

    def _make(self, image: Pixels, file: str) -> dict[str, Any]:
        scores = score_picture(self._applied, image, self._section)
        if self._applied.model.task == "classification":
            return self._label(image, scores, file)
        ids = scores.argmax(axis=0).astype(np.uint8)
        shares = np.bincount(ids.ravel(), minlength=len(self._labels)) / ids.size
        with write_whole(self.classes) as scratch:
            indexed_png(ids, self._labels).save(scratch, format="PNG")
        small, at = resized(image, ids, self._section.overview_px)
        notes = [f"{share:.1%}" for share in shares]
        self._draw(
            Heading(file, f"{image.shape[1]} x {image.shape[0]} px · {self._model()}"),
            [Panel("image", small), Panel("classes", overlay(small, at, self._labels))],
            class_legend(self._labels, notes),
        )
        return {
            "classes": self._table("share", shares),
            "ids": "export ids in the class map",
            "files": _digests(self.classes, self.overlay),
        }

    def _label(self, image: Pixels, scores: NDArray[np.float32], file: str) -> dict[str, Any]:
        best = int(scores.argmax())
        small, _ = resized(image, np.zeros(image.shape[:2], np.uint8), self._section.overview_px)
        notes = [f"{score:.1%}" for score in scores]
        self._draw(
            Heading(f"{self._labels.names[best]}, {scores[best]:.0%} sure", file),
            [Panel(self._model(), small)],
            class_legend(self._labels, notes),
        )
        return {
            "label": self._labels.names[best],
            "export_id": self._labels.export_ids[best],
            "score": round(float(scores[best]), 6),
            "classes": self._table("score", scores),
            "files": _digests(self.overlay),
        }

    def _draw(
        self, heading: Heading, panels: Sequence[Panel], legend: Sequence[LegendEntry]
    ) -> None:
        with write_whole(self.overlay) as scratch:
            draw_sheet(heading, panels, legend).save(scratch, format="PNG")

    def _table(self, key: str, values: NDArray[Any]) -> list[dict[str, Any]]:
        return [
            {
                "export_id": self._labels.export_ids[index],
                "name": item.name,
                "colour": item.colour,
                key: round(float(values[index]), 6),
            }
            for index, item in enumerate(self._labels.classes)
        ]

    def _model(self) -> str:
        return f"model {self._applied.digest[:12]}"

    def _outcome(
        self, path: Path, state: Literal["predicted", "reused"], found: dict[str, Any]
    ) -> ImageOutcome:
        key = "score" if "label" in found else "share"
        return ImageOutcome(
            path=path,
            state=state,
            record=self.record,
            overlay=self.overlay,
            shares={item["name"]: item[key] for item in found["classes"]},
        )


def _digests(*paths: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in paths}
