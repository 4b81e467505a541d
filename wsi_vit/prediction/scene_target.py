"""Where one picture's prediction goes: what is there is found again, what is new is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from wsi_vit.errors import StoreError
from wsi_vit.labels import LabelMap
from wsi_vit.prediction.applied import AppliedModel
from wsi_vit.prediction.drawing import Heading, Ids
from wsi_vit.prediction.pictures import CLASS_MAP, OVERLAY, Photograph, decode, save_class_map
from wsi_vit.prediction.record import model_facts, provenance
from wsi_vit.prediction.scene_record import (
    ImageOutcome,
    SceneQuestion,
    SceneRecord,
    image_facts,
    scene_classes,
)
from wsi_vit.prediction.scene_sheet import draw_classified, draw_labelled, draw_segmented
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.store import file_digest, write_whole

_QUICK = 3
"""How hard an overlay is compressed: a third of the time of 6, for a tenth more bytes."""


@dataclass(frozen=True, slots=True)
class Question:
    """A picture that the model has not been asked about yet."""

    photograph: Photograph
    facts: SceneQuestion

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its pixels."""
        return self.photograph.pixels.shape


class SceneTarget:
    """One picture, and the files that say what the model sees in it."""

    def __init__(
        self, applied: AppliedModel, section: PredictionSection, out: Path, name: str, path: Path
    ) -> None:
        self._applied, self._section, self.path = applied, section, path
        self._record = out / f"{name}.json"
        self._class_map = out / f"{name}{CLASS_MAP}"
        self._overlay = out / f"{name}{OVERLAY}"

    @property
    def _labels(self) -> LabelMap:
        return self._applied.model.labels

    def read(self) -> Question | ImageOutcome:
        """Decode the picture, unless it is refused, or this very question was answered before."""
        try:
            self.path.name.encode()
            photograph = decode(self.path)
            question = self._question(photograph)
        except (ValueError, OSError) as error:
            return self._refused(error)
        found = self._found(question)
        if found is not None:
            return self._outcome("reused", found)
        return Question(photograph, question)

    def write(self, question: Question, answer: NDArray[Any]) -> ImageOutcome:
        """Write what the model said: training ids (H, W) of the upright picture, or scores.

        Raises:
            StoreError: The disk is full, or may not be written.
        """
        draw = self._segmented if answer.ndim == 2 else self._classified
        if self._applied.thresholds is not None:
            draw = self._labelled
        with _written_or_told(self._record):
            found = draw(question.photograph, answer)
            record = SceneRecord.model_validate(
                {
                    **question.facts.model_dump(),
                    **found,
                    "provenance": provenance(self._applied.device.type),
                }
            )
            text = record.model_dump_json(indent=2, exclude_none=True)
            with write_whole(self._record) as scratch:
                scratch.write_text(text + "\n", encoding="utf-8")
        return self._outcome("predicted", record)

    def _question(self, photograph: Photograph) -> SceneQuestion:
        return SceneQuestion(
            image=image_facts(self.path, photograph),
            model=model_facts(self._applied),
            settings=self._section.shaping("pictures"),
        )

    def _found(self, question: SceneQuestion) -> SceneRecord | None:
        """Return the earlier result, if it answers the same question and its files are whole."""
        if not self._record.is_file():
            return None
        try:
            found = SceneRecord.model_validate_json(self._record.read_bytes())
        except ValidationError:
            return None  # not ours, damaged or another version's: made anew
        folder = self._record.parent
        whole = found.answers(question) and all(
            (folder / name).is_file() and file_digest(folder / name) == sha256
            for name, sha256 in found.files.items()
        )
        return found if whole else None

    def _segmented(self, photograph: Photograph, ids: Ids) -> dict[str, Any]:
        stored = photograph.as_stored(ids)
        with write_whole(self._class_map) as scratch:
            save_class_map(scratch, stored, self._labels, orientation=photograph.orientation)
        height, width = photograph.pixels.shape[:2]
        sheet = draw_segmented(
            photograph.pixels,
            ids,
            self._labels,
            heading=Heading(self.path.name, f"{width} x {height} px · {self._model()}"),
            longest_px=self._section.overview_px,
        )
        self._save_overlay(sheet)
        shares = np.bincount(ids.ravel(), minlength=len(self._labels)) / ids.size
        return {
            "classes": scene_classes(self._labels, shares, "share"),
            "files": _digests(self._class_map, self._overlay),
        }

    def _classified(self, photograph: Photograph, scores: NDArray[np.float32]) -> dict[str, Any]:
        best = int(scores.argmax())
        words = f"{self._labels.names[best]}, score {scores[best]:.2f}"
        sheet = draw_classified(
            photograph.pixels,
            scores,
            self._labels,
            heading=Heading(words, f"{self.path.name} · {self._model()}"),
            longest_px=self._section.overview_px,
        )
        self._save_overlay(sheet)
        return {
            "label": self._labels.names[best],
            "export_id": self._labels.export_ids[best],
            "score": round(float(scores[best]), 6),
            "classes": scene_classes(self._labels, scores, "score"),
            "files": _digests(self._overlay),
        }

    def _labelled(self, photograph: Photograph, scores: NDArray[np.float32]) -> dict[str, Any]:
        labels, thresholds = self._labels, self._applied.thresholds or ()
        called = scores >= np.asarray(thresholds)
        present = [name for name, said in zip(labels.names, called, strict=True) if said]
        sheet = draw_labelled(
            photograph.pixels,
            scores,
            labels,
            thresholds=thresholds,
            heading=Heading(
                ", ".join(present) or "none of the labels", f"{self.path.name} · {self._model()}"
            ),
            longest_px=self._section.overview_px,
        )
        self._save_overlay(sheet)
        classes = [
            item.model_copy(update={"threshold": round(threshold, 6)})
            for item, threshold in zip(
                scene_classes(labels, scores, "score"), thresholds, strict=True
            )
        ]
        return {
            "present": present,
            "classes": classes,
            "ids": "no class map: a picture may show several labels",
            "files": _digests(self._overlay),
        }

    def _save_overlay(self, sheet: Image.Image) -> None:
        with write_whole(self._overlay) as scratch:
            sheet.save(scratch, format="PNG", compress_level=_QUICK)

    def _model(self) -> str:
        return f"model {self._applied.digest[:12]}"

    def _refused(self, error: Exception) -> ImageOutcome:
        why = f"{self.path.name!r:.200} cannot be used ({error}). Mend it, or leave it out."
        return ImageOutcome(path=self.path, state="refused", message=why)

    def _outcome(self, state: Literal["predicted", "reused"], found: SceneRecord) -> ImageOutcome:
        segmented = self._applied.model.task == "segmentation"
        return ImageOutcome(
            path=self.path,
            state=state,
            record=self._record,
            class_map=self._class_map if segmented else None,
            overlay=self._overlay,
            shares=found.shares,
        )


@contextmanager
def _written_or_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"A prediction cannot be written ({error.strerror or error})",
            got=path,
            remedy="Free space or mend the permissions; the same command goes on from here",
        ) from error


def _digests(*paths: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in paths}
