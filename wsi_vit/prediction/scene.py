"""Predict plain pictures: a class map or a label for each, beside a picture of it.

Pictures are decoded and results written by threads while the model works; those of equal size go
through it together. Outcomes come in the order asked for, each as soon as it is there. A picture
that cannot be read is named, and the others go on.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_vit.prediction.applied import AppliedModel, load_applied
from wsi_vit.prediction.mosaic import is_large, tiled_picture, whole_pictures
from wsi_vit.prediction.pictures import find_images, header_bytes
from wsi_vit.prediction.scene_record import ImageOutcome
from wsi_vit.prediction.scene_target import Question, SceneTarget
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.slides.overview import worker_count
from wsi_vit.slides.tiles import Progress


def predict_images(
    model: AppliedModel | Path,
    paths: Sequence[Path],
    *,
    out: Path,
    section: PredictionSection | None = None,
    progress: Progress | None = None,
) -> Iterator[ImageOutcome]:
    """Yield what becomes of pictures, or of all pictures in folders, in the order given.

    Each gets `<name>.json` (written last), `<name>.overlay.png` and, for segmentation,
    `<name>.classes.png`: indexed colours, the pixel's value is the export id. What the same model
    has predicted before, in the same way, is not predicted again. Without a section, the settings
    saved with the model hold.

    Raises:
        UsageError: There is no picture at all.
        ModelError: The model cannot be loaded, or gives no scores.
        StoreError: A result cannot be written.
    """
    applied = load_applied(model) if isinstance(model, Path) else model
    section = section or applied.section
    found = list(find_images(paths))
    targets = (SceneTarget(applied, section, out, name, path) for name, path in found)
    with ThreadPoolExecutor(worker_count(), thread_name_prefix="pictures") as pool:
        for done, outcome in enumerate(_Line(pool, applied, section).outcomes(targets), start=1):
            if progress:
                progress(done, len(found))
            yield outcome


@dataclass(slots=True)
class _Waiting:
    """A picture on its way."""

    target: SceneTarget
    held_bytes: int
    read: "Future[Question | ImageOutcome]"
    outcome: "Future[ImageOutcome] | None" = None

    @property
    def question(self) -> Question | None:
        """What the model is still to be asked; None where there is nothing to ask, or no more."""
        if self.outcome is not None:
            return None
        read = self.read.result()
        return read if isinstance(read, Question) else None

    def is_done(self) -> bool:
        """Say whether the outcome is there."""
        if self.outcome is not None:
            return self.outcome.done()
        return self.read.done() and isinstance(self.read.result(), ImageOutcome)

    def result(self) -> ImageOutcome:
        """Return the outcome, waiting for it."""
        found = self.read.result() if self.outcome is None else self.outcome.result()
        assert isinstance(found, ImageOutcome)
        return found


class _Line:
    """Pictures in line before the model, as many as the memory ceiling lets in."""

    def __init__(
        self, pool: ThreadPoolExecutor, applied: AppliedModel, section: PredictionSection
    ) -> None:
        self._pool, self._applied, self._section = pool, applied, section
        self._waiting: deque[_Waiting] = deque()

    def outcomes(self, targets: Iterator[SceneTarget]) -> Iterator[ImageOutcome]:
        """Yield what became of each, in order."""
        coming = ((target, header_bytes(target.path)) for target in targets)
        following = next(coming, None)
        try:
            while following or self._waiting:
                while following and self._has_room(following[1]):
                    self._admit(*following)
                    following = next(coming, None)
                asked = self._ask()
                while self._waiting and (not asked or self._waiting[0].is_done()):
                    yield self._waiting.popleft().result()
                    asked = True
        finally:
            for waiting in self._waiting:
                waiting.read.cancel()

    def _has_room(self, more_bytes: int) -> bool:
        held = sum(waiting.held_bytes for waiting in self._waiting)
        few = len(self._waiting) < 3 * self._section.batch_size
        return not self._waiting or (few and held + more_bytes <= self._section.memory_mb * 1e6)

    def _admit(self, target: SceneTarget, held_bytes: int) -> None:
        self._waiting.append(_Waiting(target, held_bytes, self._pool.submit(target.read)))

    def _ask(self) -> bool:
        """Ask the model about the first picture that waits for it, and others of its size."""
        asking = (waiting for waiting in self._waiting if waiting.question)
        first = next(asking, None)
        if first is None or first.question is None:
            return False
        pixels = first.question.photograph.pixels
        if is_large(pixels.shape, self._applied, self._section):
            ids = tiled_picture(pixels, self._applied, self._section)
            self._hand_on([first], [ids])
            return True
        alike = (w for w in asking if w.question and w.question.shape == pixels.shape)
        group = [first, *islice(alike, self._batch_size(pixels) - 1)]
        self._hand_on(group, self._answers([w.question for w in group if w.question]))
        return True

    def _batch_size(self, pixels: NDArray[np.uint8]) -> int:
        """Return how many pictures of this size may be asked at once, for their scores' sake."""
        if self._applied.model.task != "segmentation":
            return self._section.batch_size
        scores_bytes = 4 * len(self._applied.model.labels) * pixels.shape[0] * pixels.shape[1]
        fitting = int(self._section.memory_mb * 1e6 / scores_bytes)
        return max(1, min(self._section.batch_size, fitting))

    def _answers(self, questions: Sequence[Question]) -> Sequence[NDArray[np.generic]]:
        images = [question.photograph.pixels for question in questions]
        if self._applied.model.task == "segmentation":
            return whole_pictures(images, self._applied, self._section)
        return list(self._applied.scores(images, average=self._section.average))

    def _hand_on(self, group: Sequence[_Waiting], answers: Sequence[NDArray[np.generic]]) -> None:
        for waiting, answer in zip(group, answers, strict=True):
            question = waiting.question
            assert question is not None
            waiting.outcome = self._pool.submit(waiting.target.write, question, answer)
