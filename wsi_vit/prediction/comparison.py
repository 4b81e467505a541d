"""A prediction beside the outlines that were drawn for the same slide."""

from pathlib import Path

from wsi_vit.geometry import Region
from wsi_vit.labels import IGNORE_ID
from wsi_vit.prediction.applied import AppliedModel
from wsi_vit.prediction.canvas import Canvas
from wsi_vit.prediction.ome_zarr import ClassMap
from wsi_vit.prediction.overview import draw_comparison
from wsi_vit.prediction.slide import CLASS_MAP, Prediction
from wsi_vit.slides.annotations import read_annotations
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.store import write_whole

_TRUTH_PX = 2000
"""Longest side of the truth that is drawn."""


def write_comparison(
    prediction: Prediction,
    slide: SlideInput,
    annotations: Path,
    *,
    applied: AppliedModel,
    path: Path,
) -> Path:
    """Write a PNG of slide, truth and prediction side by side, with the IoU of each class.

    Where annotations are silent, the label map's background holds; without one, nothing is known.

    Raises:
        AnnotationError: The annotations cannot be read, or do not belong to the slide.
    """
    labels, resolution = applied.model.labels, applied.tiling().resolution
    outside = IGNORE_ID if labels.background_id is None else labels.background_id
    with open_slide(slide.path, mpp=slide.mpp, resolution=resolution) as opened:
        width, height = opened.size
        shrink = _TRUTH_PX / max(width, height)
        truth = read_annotations(annotations, slide_size=opened.size, labels=labels).mask(
            Region(0, 0, width, height),
            width_px=round(width * shrink),
            height_px=round(height * shrink),
            other=outside,
        )
        classes = ClassMap(prediction.folder / CLASS_MAP, _canvas(prediction, opened.size), labels)
        picture = draw_comparison(opened, classes, prediction.record, truth=truth, longest_px=700)
    with write_whole(path) as scratch:
        picture.save(scratch, format="PNG")
    return path


def _canvas(prediction: Prediction, plane: tuple[int, int]) -> Canvas:
    grid = prediction.record.map
    return Canvas(
        step=grid.step_base_px,
        plane=plane,
        mpp=grid.pixel_um / grid.step_base_px,
        patch_px=grid.tile_px,
        stride_px=grid.stride_px,
    )
