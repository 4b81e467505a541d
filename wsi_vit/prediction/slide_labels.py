"""A slide whose tiles have any number of labels: where each one is, and how sure the model is.

Labels do not exclude each other, so there is no class map. Each label has outlines and a picture of
its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.prediction.canvas import Canvas
from wsi_vit.prediction.drawing import (
    Heading,
    LegendEntry,
    Panel,
    Picture,
    class_legend,
    draw_sheet,
)
from wsi_vit.prediction.geojson import Annotations, annotation
from wsi_vit.prediction.outlines import trace
from wsi_vit.prediction.overview import NOT_COMPUTED, unlike_training, unreadable, view_of
from wsi_vit.prediction.record import ClassFacts, MapFacts, PredictionRecord, map_facts
from wsi_vit.prediction.table import TileRecord
from wsi_vit.slides.slide import Slide

_MOST_PANELS = 6
"""Labels that are drawn: those that cover most."""
_FADED, _TINT = 0.55, 0.65


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMaps:
    """The scores of a slide's tiles on their grid."""

    scores: NDArray[np.float32]
    """Shape (labels, rows, columns); NaN where nothing was computed."""
    thresholds: tuple[float, ...]
    canvas: Canvas
    labels: LabelMap

    @classmethod
    def of(
        cls,
        records: Sequence[TileRecord],
        *,
        canvas: Canvas,
        labels: LabelMap,
        thresholds: tuple[float, ...],
    ) -> Self:
        """Lay the tiles out."""
        shape = (len(labels), canvas.height_px, canvas.width_px)
        scores = np.full(shape, np.nan, np.float32)
        for record in records:
            if record.scores is not None:
                scores[:, record.planned.row, record.planned.column] = record.scores
        return cls(scores=scores, thresholds=thresholds, canvas=canvas, labels=labels)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Where each label is, (labels, rows, columns)."""
        return self.scores >= np.asarray(self.thresholds)[:, None, None]

    @property
    def areas_mm2(self) -> NDArray[np.float64]:
        """Area of all tiles that were computed, then of those that show each label."""
        canvas, (_, rows, columns) = self.canvas, self.scores.shape
        down, across = canvas.shares(0, rows, axis=1), canvas.shares(0, columns, axis=0)
        where = np.concatenate([~np.isnan(self.scores[:1]), self.present])
        return (where * np.outer(down, across)).sum(axis=(1, 2)) * canvas.pixel_um**2 / 1e6

    def facts(self) -> tuple[ClassFacts, ...]:
        """Return how much of the slide shows each label."""
        computed, *areas = self.areas_mm2.tolist()
        return tuple(
            ClassFacts(
                training_id=index,
                export_id=self.labels.export_ids[index],
                name=item.name,
                colour=item.colour,
                area_mm2=round(areas[index], 6),
                share=round(areas[index] / computed, 6) if computed else 0.0,
                threshold=round(self.thresholds[index], 6),
            )
            for index, item in enumerate(self.labels.classes)
        )

    def grid(self) -> MapFacts:
        """Describe the grid of the tiles."""
        told = "no class map: a tile may show several labels; their scores are in tiles.parquet"
        return map_facts(self.canvas).model_copy(update={"ids": told})

    def outlines(self, *, min_area_um2: float) -> Annotations:
        """Return one QuPath annotation a connected part of the tiles that show a label.

        Those of different labels may lie upon each other.
        """
        canvas = self.canvas
        least = min_area_um2 / canvas.pixel_um**2
        features = [
            annotation(outline, canvas.step, canvas, self.labels)
            for index, (where, scores) in enumerate(zip(self.present, self.scores, strict=True))
            for outline in trace(
                np.where(where, index, IGNORE_ID).astype(np.uint8),
                np.nan_to_num(np.rint(scores * 255)).astype(np.uint8),
                least_pixels=least,
            )
        ]
        return Annotations(features, canvas.pixel_um)


def draw_labels(
    slide: Slide, maps: LabelMaps, record: PredictionRecord, *, longest_px: int
) -> Image.Image:
    """Return the slide and, of each label, how sure the model is of it where."""
    order = np.argsort(-maps.areas_mm2[1:], kind="stable")[:_MOST_PANELS].tolist()
    view = view_of(slide, max(320, 2 * longest_px // (len(order) + 1)))
    heading = Heading(
        record.slide.slide_id,
        f"{record.computed_mm2:.3g} mm² predicted in {record.tiles.predicted} tiles at "
        f"{record.resolution.effective_mpp:.3g} µm/px{unreadable(record)} · "
        f"model {record.model.digest[:12]}{unlike_training(record)}",
    )
    step = (maps.canvas.step, maps.canvas.step)
    panels = [Panel("slide", view.pixels)]
    for index in order:
        shown = _shaded(view.pixels, view.look_up(maps.scores[index], step), maps, index)
        panels.append(Panel(f"{maps.labels.names[index]}: score", shown))
    return draw_sheet(
        heading, panels, _legend(maps, record), um_per_px=view.step * record.resolution.slide_mpp
    )


def _legend(maps: LabelMaps, record: PredictionRecord) -> list[LegendEntry]:
    notes = [
        f"in {item.share:.1%} · {item.area_mm2:.3g} mm² (score from {item.threshold:.2f})"
        for item in record.classes
    ]
    return [*class_legend(maps.labels, notes), NOT_COMPUTED]


def _shaded(picture: Picture, scores: NDArray[np.float32], maps: LabelMaps, index: int) -> Picture:
    """Return a picture in grey, tinted as strongly as the score is high, and framed where it is.

    What was not computed is faded.
    """
    hidden = np.isnan(scores)
    grey = picture.mean(axis=-1, keepdims=True)
    strength = np.nan_to_num(scores)[..., None] * _TINT
    mixed = grey * (1 - strength) + maps.labels.colours[index] * strength
    mixed[_edges(scores >= maps.thresholds[index])] = maps.labels.colours[index]
    mixed[hidden] = 255 - (255 - np.broadcast_to(grey, picture.shape)[hidden]) * _FADED
    return mixed.round().astype(np.uint8)


def _edges(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of an area that lie beside others."""
    padded = np.pad(where, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return where & ~inside
