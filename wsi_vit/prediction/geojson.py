"""The class map as annotations that QuPath opens on the same slide, in the right place."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from wsi_vit.geometry import Region
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.prediction.canvas import Canvas
from wsi_vit.prediction.ome_zarr import ClassMap
from wsi_vit.prediction.outlines import Outline, trace
from wsi_vit.store import canonical_json, digest_of

FRAME = "base pixels of the full level-0 plane: x right, y down, origin at its top left"


def collect_features(
    target: ClassMap, *, most_px: int, min_area_um2: float
) -> list[dict[str, Any]]:
    """Return one QuPath annotation a connected part of a class, by class and place.

    The finest level of at most `most_px` pixels is traced; the background class has no outlines.
    Coordinates are base pixels, cut at the plane's edge.
    """
    canvas, labels, level = target.canvas, target.labels, target.read(most_px=most_px)
    pixel_um2 = (level.step * canvas.mpp) ** 2
    ids = level.classes
    if labels.background_id is not None:
        ids[ids == labels.background_id] = IGNORE_ID
    certainty = target.read_certainty(level)
    outlines = trace(ids, certainty, least_pixels=min_area_um2 / pixel_um2)
    return [_feature(outline, level.step, canvas, labels) for outline in outlines]


def write_geojson(path: Path, features: list[dict[str, Any]], *, bounds: Region | None) -> None:
    """Write a FeatureCollection; its `properties` name the frame and the scanned bounds."""
    where = None if bounds is None else [bounds.x, bounds.y, bounds.width, bounds.height]
    collection = {
        "type": "FeatureCollection",
        "features": features,
        "properties": {"frame": FRAME, "openslide_bounds": where},
    }
    path.write_text(json.dumps(collection, separators=(",", ":"), ensure_ascii=False))


def _feature(outline: Outline, step: float, canvas: Canvas, labels: LabelMap) -> dict[str, Any]:
    polygon = outline.polygon
    geometry = {
        "type": "Polygon",
        "coordinates": [
            _ring(ring.coords, step, canvas.plane)
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


def _ring(coords: Any, step: float, plane: tuple[int, int]) -> list[list[float]]:
    points = np.asarray(coords, np.float64)[:, :2] * step
    return np.round(np.clip(points, 0, plane), 2).tolist()
