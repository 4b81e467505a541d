"""The tissue that is found on a slide, as outlines that a person can edit in QuPath."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from wsi_vit.cohort import TISSUE_SUFFIX
from wsi_vit.errors import UsageError
from wsi_vit.labels import IGNORE_ID
from wsi_vit.pipeline.quality import SurveySection
from wsi_vit.prediction.geojson import FRAME, base_pixel_ring
from wsi_vit.prediction.outlines import trace
from wsi_vit.slides.quality.survey import survey_slide
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tissue.mask import TissueMask
from wsi_vit.slides.tissue.outlines import TISSUE
from wsi_vit.store import write_whole

_GREEN = [0, 158, 115]


def write_tissue(given: SlideInput, *, section: SurveySection, out: Path | None = None) -> Path:
    """Write the outlines of a slide's tissue, else beside it, where they win from then on.

    Read again they give the very mask they were traced from.

    Raises:
        SlideError: The slide cannot be used.
        UsageError: The file is there already: it may hold somebody's work.
    """
    path = out or given.path.with_name(given.path.stem + TISSUE_SUFFIX)
    if path.exists():
        raise UsageError(
            "There are outlines of this slide's tissue already",
            got=path,
            remedy="Edit these, move them away, or name another file with --out",
        )
    with open_slide(given.path, mpp=given.mpp, resolution=section.resolution) as slide:
        mask = survey_slide(slide, section.tissue).mask
        outlined = tissue_features(mask, slide.size)
    collection = {
        "type": "FeatureCollection",
        "features": outlined,
        "properties": {"frame": FRAME, "tissue": section.tissue.model_dump(mode="json")},
    }
    with write_whole(path) as scratch:
        scratch.write_text(json.dumps(collection, separators=(",", ":"), ensure_ascii=False))
    return path


def tissue_features(mask: TissueMask, plane: tuple[int, int]) -> list[dict[str, Any]]:
    """Return a QuPath annotation for each connected part, in base pixels, cut at the plane."""
    ids = np.where(mask.is_tissue, 0, IGNORE_ID).astype(np.uint8)
    return [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    base_pixel_ring(ring.coords, mask.base_px_per_cell, plane)
                    for ring in (outline.polygon.exterior, *outline.polygon.interiors)
                ],
            },
            "properties": {
                "objectType": "annotation",
                "classification": {"name": TISSUE, "color": _GREEN},
            },
        }
        for outline in trace(ids, ids)
    ]
