"""The truth of a slide: compartments as a mask, and as outlines along its pixel edges."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from wsi_vit.slides.synthetic.settings import CLASSES, MASK_FACTOR
from wsi_vit.store import digest_of, write_whole

_COLOURS = ((200, 30, 50), (60, 160, 80), (240, 170, 60), (80, 150, 220))


def write_mask(ids: NDArray[np.uint8], path: Path) -> None:
    """Write the ids (rows, columns) as a grey PNG, one pixel for `MASK_FACTOR` base pixels."""
    from PIL import Image

    with write_whole(path) as scratch:
        Image.fromarray(ids).save(scratch, format="PNG", optimize=False)


def write_outlines(ids: NDArray[np.uint8], path: Path, *, slide_id: str) -> None:
    """Write one QuPath annotation a connected compartment, in base pixels, with its holes."""
    features = [
        _feature(polygon, name, colour, key=f"{slide_id}/{name}/{number}")
        for index, (name, colour) in enumerate(zip(CLASSES, _COLOURS, strict=True), start=1)
        for number, polygon in enumerate(_polygons(ids == index))
    ]
    collection = {"type": "FeatureCollection", "features": features}
    with write_whole(path) as scratch:
        scratch.write_text(json.dumps(collection, separators=(",", ":")), encoding="utf-8")


def _polygons(inside: NDArray[np.bool_]) -> list[list[list[list[int]]]]:
    """Return the rings of each connected part of a mask; every edge is a pixel edge."""
    import shapely

    padded = np.pad(inside, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    top, left = np.nonzero(steps == 1)
    right = np.nonzero(steps == -1)[1]
    runs = shapely.box(left, top, right, top + 1)
    union = shapely.normalize(shapely.simplify(shapely.union_all(runs), 0))
    polygons = [part for part in shapely.get_parts(union) if not part.is_empty]
    return [[_ring(part.exterior), *map(_ring, part.interiors)] for part in polygons]


def _ring(ring: Any) -> list[list[int]]:
    import shapely

    corners = np.rint(shapely.get_coordinates(ring)).astype(int) * MASK_FACTOR
    return corners.tolist()


def _feature(
    rings: list[list[list[int]]], name: str, colour: tuple[int, int, int], *, key: str
) -> dict[str, object]:
    return {
        "type": "Feature",
        "id": str(UUID(digest_of(key)[:32])),
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name, "color": list(colour)},
            "isLocked": True,
        },
    }
