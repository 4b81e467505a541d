"""Explain a picture: what the model looked at in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsi_vit.explanation.artefacts import (
    STAGE,
    VERSION,
    Explanation,
    Progress,
    facts_of,
    judged,
    settings_of,
    silent,
)
from wsi_vit.explanation.faithfulness import Faithfulness
from wsi_vit.explanation.figure import (
    enlarged,
    explained_sheet,
    painted,
    part_panels,
    relative,
    top_of,
    with_parts,
)
from wsi_vit.explanation.maps import Explained, Explainer
from wsi_vit.explanation.record import (
    FIGURE,
    FORMULAS,
    MAP,
    RECORD,
    PictureExplanation,
    PictureMap,
    class_scores,
)
from wsi_vit.explanation.section import Method
from wsi_vit.prediction.drawing import Heading, LegendEntry, Panel, class_legend
from wsi_vit.prediction.pictures import Photograph, decode, resized
from wsi_vit.prediction.record import model_facts, provenance
from wsi_vit.prediction.scene_record import ImageFacts, image_facts
from wsi_vit.store import Shape, Store, write_record

_PARTS: dict[Method, str] = {"attention": "head", "tokens": "token"}
_LISTED = 6
"""Classes of a legend: the best ones."""


def explain_picture(
    explainer: Explainer,
    path: Path,
    *,
    out: Path,
    mpp: float | None = None,
    progress: Progress = silent,
) -> Explanation[PictureExplanation]:
    """Explain a picture, or find that this was done already.

    `out/explanation/<key>/` gets `map.npy`, `explanation.png` and `explanation.json`, all of them
    or none. The key is the digest of picture, model and settings.

    Args:
        explainer: The model with its method.
        path: A picture of the kinds that `wsi-vit predict` takes.
        out: Where results go.
        mpp: Micrometres per pixel, for the scale bar.
        progress: Told how far testing is.

    Raises:
        ValueError: The picture cannot be read, as `decode` says.
        StoreError: The result cannot be written.
    """
    photograph = decode(path)
    image = image_facts(path, photograph)
    settings = settings_of(explainer, "pictures")
    shape = Shape.of(
        STAGE,
        VERSION,
        sections={"explanation": settings, "file": path.name, "mpp": mpp},
        inputs={"image": image.sha256, "model": explainer.applied.digest},
    )
    job = _Job(explainer, photograph, image, settings, mpp, progress)
    return Explanation.read(Store(out).ensure(shape, job.make), RECORD, PictureExplanation)


@dataclass(frozen=True, slots=True)
class _Job:
    """One picture being explained."""

    explainer: Explainer
    photograph: Photograph
    image: ImageFacts
    settings: dict[str, Any]
    mpp: float | None
    progress: Progress

    def make(self, folder: Path) -> dict[str, Any]:
        """Write every file of the artefact; return its facts."""
        found = self.explainer.explain([self.photograph.pixels])
        np.save(folder / MAP, found.maps[0])
        record = self._record(found)
        write_record(folder / RECORD, record)
        self._sheet(found, record).save(folder / FIGURE)
        return facts_of(record)

    def _record(self, found: Explained) -> PictureExplanation:
        applied, method = self.explainer.applied, self.explainer.method
        labels = applied.model.labels
        parts, rows, columns = found.maps[0].shape
        height, width = self.photograph.pixels.shape[:2]
        return PictureExplanation(
            image=self.image,
            model=model_facts(applied),
            method=method,
            formula=FORMULAS[method],
            settings=self.settings,
            explained_class=labels.names[found.class_ids[0]],
            classes=class_scores(labels, found.scores[0]),
            map=PictureMap(
                parts=parts,
                rows=rows,
                columns=columns,
                cell_px=(width / columns, height / rows),
                pixel_um=self.mpp,
                values=FORMULAS[method],
            ),
            faithfulness=self._tested(found),
            provenance=provenance(applied.device.type),
        )

    def _tested(self, found: Explained) -> Faithfulness | None:
        if self.explainer.section.faithfulness is None:
            return None
        pixels, class_id = self.photograph.pixels, int(found.class_ids[0])
        return judged(self.explainer, pixels, found.whole[0], class_id, self.progress)

    def _sheet(self, found: Explained, record: PictureExplanation) -> Image.Image:
        longest = self.explainer.section.overview_px
        small, _ = resized(
            self.photograph.pixels,
            np.zeros(self.photograph.pixels.shape[:2], np.uint8),
            longest,
        )
        size = small.shape[1], small.shape[0]
        values = enlarged(relative(found.whole[0]), size)
        top = top_of(values)
        panels = [Panel("picture", small), Panel("looked at", painted(small, values, top=top))]
        across = self.photograph.pixels.shape[1] / small.shape[1]
        sheet = explained_sheet(
            _heading(record),
            panels,
            self._legend(found),
            top=top,
            words="times an even share",
            um_per_px=None if self.mpp is None else self.mpp * across,
        )
        name = _PARTS.get(record.method)
        if name is None:
            return sheet
        return with_parts(sheet, part_panels(small, found.maps[0], name))

    def _legend(self, found: Explained) -> list[LegendEntry]:
        """Return the best classes with their scores."""
        scores = found.scores[0]
        entries = class_legend(
            self.explainer.applied.model.labels, [f"score {score:.2f}" for score in scores]
        )
        return [entries[index] for index in np.argsort(-scores, kind="stable")[:_LISTED]]


def _heading(record: PictureExplanation) -> Heading:
    score = {item.name: item.score for item in record.classes}[record.explained_class]
    words = f"{record.explained_class}, score {score:.2f}: by {record.method}"
    said = [record.image.file, f"model {record.model.digest[:12]}"]
    if record.faithfulness:
        deletion = record.faithfulness.deletion
        said.insert(1, f"deletion AUC {deletion.area:.2f} (random maps {deletion.random:.2f})")
    return Heading(words, " · ".join(said))
