"""Pictures of a predicted slide: the slide beside its class map, and truth beside prediction."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.metrics import count_pairs, iou_per_class
from wsi_vit.prediction.drawing import (
    Heading,
    Ids,
    LegendEntry,
    Panel,
    class_legend,
    draw_sheet,
    overlay,
)
from wsi_vit.prediction.ome_zarr import ClassMap
from wsi_vit.prediction.record import PredictionRecord
from wsi_vit.slides.overview import read_overview
from wsi_vit.slides.slide import Slide

_Scalar = TypeVar("_Scalar", bound=np.generic)
NOT_COMPUTED = LegendEntry(None, "#ffffff", "not computed")


@dataclass(frozen=True, slots=True)
class View:
    """The whole slide at the size of a picture."""

    pixels: NDArray[np.uint8]
    """RGB, shape (rows, columns, 3)."""
    step: float
    """Base pixels a side of its pixels."""

    def look_up(self, ids: NDArray[_Scalar], step: tuple[float, float]) -> NDArray[_Scalar]:
        """Return what a map (rows, columns) says under the centre of each pixel.

        `step` is how many base pixels a pixel of the map measures, down and across.
        """
        rows, columns = (
            np.minimum(((np.arange(count) + 0.5) * self.step / one).astype(np.int64), most - 1)
            for count, one, most in zip(self.pixels.shape[:2], step, ids.shape, strict=True)
        )
        return ids[np.ix_(rows, columns)]


def draw_overview(
    slide: Slide, target: ClassMap, record: PredictionRecord, *, longest_px: int
) -> Image.Image:
    """Return slide and class map with legend (id, colour, name, share), title and scale bar."""
    labels = target.labels
    view = view_of(slide, longest_px)
    shown = _predicted(view, target)
    notes = [f"{item.share:.1%} · {item.area_mm2:.3g} mm²" for item in record.classes]
    heading = Heading(
        record.slide.slide_id,
        f"{record.computed_mm2:.3g} mm² predicted in {record.tiles.predicted} tiles at "
        f"{record.resolution.effective_mpp:.3g} µm/px{unreadable(record)} · "
        f"model {record.model.digest[:12]}{unlike_training(record)}",
    )
    panels = [Panel("slide", view.pixels), Panel("classes", overlay(view.pixels, shown, labels))]
    legend = [*class_legend(labels, notes), NOT_COMPUTED]
    return draw_sheet(heading, panels, legend, um_per_px=view.step * record.resolution.slide_mpp)


def draw_comparison(
    slide: Slide,
    target: ClassMap,
    record: PredictionRecord,
    *,
    truth: Ids,
    longest_px: int,
) -> Image.Image:
    """Return slide, truth and prediction side by side, with the IoU of each class.

    `truth` holds training ids over the full plane, at any resolution; 255 is not annotated. IoU is
    counted on the picture's own pixels, where both are known.
    """
    labels = target.labels
    view = view_of(slide, longest_px)
    shown = _predicted(view, target)
    width, height = slide.size
    known = view.look_up(truth, (height / truth.shape[0], width / truth.shape[1]))
    panels = [
        Panel("slide", view.pixels),
        Panel("truth", overlay(view.pixels, known, labels)),
        Panel("prediction", overlay(view.pixels, shown, labels)),
    ]
    scores = compare(known, shown, labels)
    notes = ["no IoU" if np.isnan(iou) else f"IoU {iou:.2f}" for iou in scores]
    heading = Heading(
        f"{record.slide.slide_id}: truth and prediction",
        f"counted where both are known, at {view.step * record.resolution.slide_mpp:.3g} µm/px",
    )
    legend = [*class_legend(labels, notes), LegendEntry(None, "#ffffff", "not annotated, computed")]
    return draw_sheet(heading, panels, legend, um_per_px=view.step * record.resolution.slide_mpp)


def compare(truth: Ids, prediction: Ids, labels: LabelMap) -> NDArray[np.float64]:
    """Return the IoU of each class over the pixels where truth and prediction are known."""
    both = (truth != IGNORE_ID) & (prediction != IGNORE_ID)
    return iou_per_class(count_pairs(truth[both], prediction[both], len(labels)))


def unlike_training(record: PredictionRecord) -> str:
    """Say how much of the slide the model does not know, and how much is usual."""
    found = record.anomaly
    if found is None:
        return ""
    usual = "" if found.usual_share is None else f" (usual: {found.usual_share:.1%})"
    return f" · unlike the training: {found.share:.1%}{usual}"


def unreadable(record: PredictionRecord) -> str:
    """Say how many tiles could not be read; nothing where all could."""
    count = len(record.tiles.invalid)
    return f", {count} unreadable" if count else ""


def view_of(slide: Slide, longest_px: int) -> View:
    """Return the whole slide at the size of a picture."""
    overview = read_overview(slide, max(slide.size) / longest_px * slide.mpp)
    return View(overview.pixels, overview.base_px_per_cell)


def _predicted(view: View, target: ClassMap) -> Ids:
    """Look the classes up in the coarsest level that is at least as fine as the picture."""
    rows, columns = view.pixels.shape[:2]
    level = target.read(most_px=max(4 * rows * columns, 1))
    return view.look_up(level.classes, (level.step, level.step))
