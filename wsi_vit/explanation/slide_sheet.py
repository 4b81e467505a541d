"""The figure of an explained slide: the slide, the classes of its tiles, and the map."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_vit.explanation.figure import explained_sheet, painted, top_of
from wsi_vit.explanation.record import EACH_OWN, SlideExplanation
from wsi_vit.labels import LabelMap
from wsi_vit.prediction.drawing import Heading, Ids, Panel, class_legend, overlay
from wsi_vit.prediction.overview import NOT_COMPUTED, view_of
from wsi_vit.slides.slide import Slide


def draw_slide(
    slide: Slide,
    record: SlideExplanation,
    values: NDArray[np.float32],
    ids: Ids,
    *,
    labels: LabelMap,
    longest_px: int,
) -> Image.Image:
    """Return slide, classes and map side by side, with legend, colour bar and scale bar.

    `values` and `ids` are those of the map's cells, (rows, columns).
    """
    view = view_of(slide, longest_px)
    step = record.map.step_base_px
    times = max(1, int(view.step / step))
    shown = view.look_up(coarser(values, times), (times * step, times * step))
    top = top_of(shown)
    notes = [f"mean score {item.score:.2f}" for item in record.classes]
    panels = [
        Panel("slide", view.pixels),
        Panel("class of each tile", overlay(view.pixels, view.look_up(ids, (step, step)), labels)),
        Panel("looked at", painted(view.pixels, shown, top=top)),
    ]
    return explained_sheet(
        _heading(record),
        panels,
        [*class_legend(labels, notes), NOT_COMPUTED],
        top=top,
        words="score of the class, times an even share of the tile",
        um_per_px=view.step * record.resolution.slide_mpp,
    )


def coarser(values: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    """Return the means of squares of cells, `times` a side; NaN where none of them is known."""
    if times == 1:
        return np.array(values)
    missing = [(0, -length % times) for length in values.shape]
    whole = np.pad(values, missing, constant_values=np.nan)
    cells = whole.reshape(whole.shape[0] // times, times, -1, times)
    known = np.isfinite(cells)
    total, count = np.where(known, cells, 0).sum((1, 3)), known.sum((1, 3))
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _heading(record: SlideExplanation) -> Heading:
    said = [
        f"{record.tiles} tiles at {record.resolution.effective_mpp:.3g} µm/px",
        f"model {record.model.digest[:12]}",
    ]
    if record.invalid:
        said.insert(1, f"{record.invalid} unreadable")
    if record.faithfulness:
        found = record.faithfulness
        said.insert(
            1,
            f"deletion AUC {found.deletion:+.3f} ({found.deletion_low:+.3f} to "
            f"{found.deletion_high:+.3f}) better than random maps in {found.pictures} tiles",
        )
    own = record.explained_class == EACH_OWN
    words = f"{EACH_OWN} class" if own else f"class {record.explained_class}"
    return Heading(f"{record.slide.slide_id}: {words}, by {record.method}", " · ".join(said))
