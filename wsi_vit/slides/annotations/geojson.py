"""Read the GeoJSON that QuPath writes: a collection, a list, or a single feature."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsi_vit.errors import AnnotationError
from wsi_vit.slides.annotations.shapes import UNNAMED, Drawing, Ring, Shape, ring_of

_DEEPEST = 8
"""Collections within collections beyond this are refused."""

_CELLS = ("cell", "detection", "tile", "tma_core")
"""QuPath's objects that nobody drew: a nucleus must not cut a hole into a tumour."""


def read_geojson(path: Path) -> Drawing:
    """Return the polygons of a GeoJSON file, in the order of the file.

    Raises:
        AnnotationError: The file is no GeoJSON, or a position is not finite.
    """
    try:
        content = json.loads(path.read_bytes(), object_hook=_packed)
    except RecursionError:
        raise _unreadable(path, "It is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise _unreadable(path, f"It is no JSON: {error}") from error
    drawing = Drawing()
    for feature in _features(content, path, depth=0):
        _read_feature(feature, path, drawing)
    return drawing


class _Polygons(list[tuple[Ring, ...]]):
    """The rings of each polygon of a geometry, as arrays."""


def _packed(item: dict[str, Any]) -> dict[str, Any]:
    """Turn a geometry's positions into arrays while the file is parsed: lists take ten times more.

    What cannot be turned is left as it is: whoever reads the feature says what is wrong with it.
    """
    kind, coordinates = item.get("type"), item.get("coordinates")
    if kind in ("Polygon", "MultiPolygon") and isinstance(coordinates, list):
        polygons = [coordinates] if kind == "Polygon" else coordinates
        with suppress(AnnotationError, TypeError):
            item["coordinates"] = _Polygons(
                tuple(ring_of(ring) for ring in polygon) for polygon in polygons
            )
    return item


def _unreadable(path: Path, why: str) -> AnnotationError:
    return AnnotationError(
        f"Cannot read GeoJSON annotations. {why}",
        got=path,
        remedy="Export them again from QuPath: File > Export objects as GeoJSON",
    )


def _features(content: object, path: Path, *, depth: int) -> Iterator[dict[str, Any]]:
    if depth > _DEEPEST:
        raise _unreadable(path, "It is nested too deeply")
    if isinstance(content, list):
        for item in content:
            yield from _features(item, path, depth=depth + 1)
        return
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection" and isinstance(content, dict):
        yield from _features(content.get("features") or [], path, depth=depth + 1)
    elif kind == "Feature" and isinstance(content, dict):
        yield content
    elif isinstance(content, dict) and ("coordinates" in content or "geometries" in content):
        yield {"geometry": content}
    else:
        raise _unreadable(path, f"{str(content)[:60]!r} is no feature")


def _read_feature(feature: dict[str, Any], path: Path, drawing: Drawing) -> None:
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    kind = str(properties.get("objectType") or properties.get("object_type") or "annotation")
    if kind.casefold() in _CELLS:
        drawing.skipped[f"QuPath object of type {kind}"] += 1
        return
    names = tuple(_names(properties)) or (UNNAMED,)
    for geometry in _geometries(feature.get("geometry"), path, depth=0):
        _read_geometry(geometry, names, path, drawing)


def _names(properties: dict[str, Any]) -> Iterator[str]:
    """Yield the class (`Tumor: Positive`, then `Tumor`), or else the object's own name."""
    given = properties.get("classification")
    if isinstance(given, str) and given:
        yield given
    elif isinstance(given, dict):
        listed = given.get("names")
        parts = [str(part) for part in (listed if isinstance(listed, list) else [listed]) if part]
        name = given.get("name") or ": ".join(parts)
        if name:
            yield str(name)
            if ":" in str(name):
                yield str(name).split(":")[0].strip()
            return
    if properties.get("name") and not isinstance(given, str):
        yield str(properties["name"])


def _geometries(geometry: object, path: Path, *, depth: int) -> Iterator[dict[str, Any]]:
    if depth > _DEEPEST:
        raise _unreadable(path, "It is nested too deeply")
    if not isinstance(geometry, dict):
        return
    if geometry.get("type") != "GeometryCollection":
        yield geometry
        return
    parts = geometry.get("geometries") or []
    if not isinstance(parts, list):
        raise _unreadable(path, "A GeometryCollection has no list of geometries")
    for part in parts:
        yield from _geometries(part, path, depth=depth + 1)


def _read_geometry(
    geometry: dict[str, Any], names: tuple[str, ...], path: Path, drawing: Drawing
) -> None:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        drawing.skipped[str(kind)] += 1
        return
    packed = kind == "MultiPolygon" or isinstance(coordinates, _Polygons)
    polygons = coordinates if packed else [coordinates]
    if not isinstance(polygons, list) or not all(
        isinstance(item, list | tuple) for item in polygons
    ):
        raise _unreadable(path, f"A {kind} has no coordinates")
    for polygon in polygons:
        if polygon:
            drawing.shapes.append(Shape(names, tuple(ring_of(ring) for ring in polygon)))
