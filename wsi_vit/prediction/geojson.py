"""The class map as annotations that QuPath opens on the same slide, in the right place."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from wsi_vit.geometry import Region
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.prediction.canvas import Canvas
from wsi_vit.prediction.ome_zarr import ClassMap, Level
from wsi_vit.prediction.outlines import Outline, count_edges, trace
from wsi_vit.store import canonical_json, digest_of

FRAME = "base pixels of the full level-0 plane: x right, y down, origin at its top left"
_MOST_EDGES = 500_000
"""Tracing takes about 1.5 kB an edge."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """The outlines of a class map."""

    features: list[dict[str, Any]]
    """QuPath annotations, by class and place."""
    pixel_um: float
    """Side of the pixels that were traced, in micrometres."""


def outline_classes(target: ClassMap, *, most_px: int, min_area_um2: float) -> Annotations:
    """Return one QuPath annotation a connected part of a class.

    Traced is the finest level of at most `most_px` pixels whose borders fit a gigabyte; a map that
    is all specks is traced coarser. The background class has no outlines. Coordinates are base
    pixels, cut at the plane's edge.
    """
    canvas, labels = target.canvas, target.labels
    level = _traceable(target, most_px)
    pixel_um = level.step * canvas.mpp
    certainty = target.read_certainty(level)
    outlines = trace(level.classes, certainty, least_pixels=min_area_um2 / pixel_um**2)
    features = [annotation(outline, level.step, canvas, labels) for outline in outlines]
    return Annotations(features, pixel_um)


def _traceable(target: ClassMap, most_px: int) -> Level:
    """Read the level to trace, the background taken out."""
    background = target.labels.background_id
    while True:
        level = target.read(most_px=most_px)
        if background is not None:
            level.classes[level.classes == background] = IGNORE_ID
        if count_edges(level.classes) <= _MOST_EDGES or level.number == len(target.shapes) - 1:
            return level
        most_px = level.classes.size - 1


def write_geojson(path: Path, annotations: Annotations, *, bounds: Region | None) -> None:
    """Write a FeatureCollection; its `properties` name the frame and the scanned bounds."""
    where = None if bounds is None else [bounds.x, bounds.y, bounds.width, bounds.height]
    collection = {
        "type": "FeatureCollection",
        "features": annotations.features,
        "properties": {
            "frame": FRAME,
            "openslide_bounds": where,
            "traced_pixel_um": annotations.pixel_um,
        },
    }
    path.write_text(json.dumps(collection, separators=(",", ":"), ensure_ascii=False))


def annotation(outline: Outline, step: float, canvas: Canvas, labels: LabelMap) -> dict[str, Any]:
    """Return an outline as QuPath has it; `step` is base pixels a side of what was traced."""
    polygon = outline.polygon
    geometry = {
        "type": "Polygon",
        "coordinates": [
            base_pixel_ring(ring.coords, step, canvas.plane)
            for ring in (polygon.exterior, *polygon.interiors)
        ],
    }
    item = labels.classes[outline.class_id]
    area_um2 = outline.pixels * (step * canvas.mpp) ** 2
    return {
        "type": "Feature",
        "id": str(UUID(digest_of(canonical_json(geometry))[:32])),
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "classification": {
                "name": item.name,
                "color": labels.colours[outline.class_id].tolist(),
            },
            "measurements": {
                "Area µm^2": round(area_um2, 3),
                "Mean probability": round(outline.mean_value / 255, 4),
            },
        },
    }


def base_pixel_ring(coords: Any, step: float, plane: tuple[int, int]) -> list[list[float]]:
    """Return corners on a grid of this step as base pixels, cut at the plane (width, height)."""
    points = np.asarray(coords, np.float64)[:, :2] * step
    return np.round(np.clip(points, 0, plane), 2).tolist()
