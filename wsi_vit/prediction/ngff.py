"""The metadata of a class map as OME-Zarr, NGFF 0.5 (https://ngff.openmicroscopy.org/0.5/).

The image is the stack of class probabilities; the classes are its label image, in `labels/classes`.
"""

from typing import Any

from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.prediction.canvas import Canvas

VERSION = "0.5"
SMALLEST_LEVEL_PX = 512
"""The pyramid ends with the first level that is no longer than this."""


def level_shapes(canvas: Canvas) -> list[tuple[int, int]]:
    """Return (rows, columns) of each level; a level's pixels are twice as wide as the last's."""
    shapes = [(canvas.height_px, canvas.width_px)]
    while max(shapes[-1]) > SMALLEST_LEVEL_PX:
        rows, columns = shapes[-1]
        shapes.append((-(-rows // 2), -(-columns // 2)))
    return shapes


def image_attributes(canvas: Canvas, labels: LabelMap, levels: int) -> dict[str, Any]:
    """Return the attributes of the root group: probabilities, one channel a class."""
    how = "mean of the computed pixels among 2 x 2"
    ome = {
        "version": VERSION,
        "multiscales": [_multiscale("probabilities", canvas, levels, channels=True, how=how)],
        "omero": {
            "channels": [
                {
                    "label": item.name,
                    "color": item.colour[1:].upper(),
                    "active": item.name != labels.background,
                    "window": {"min": 0, "max": 255, "start": 0, "end": 255},
                }
                for item in labels.classes
            ]
        },
    }
    ours = {"probability": "value / 255; 0 in every class where nothing was computed"}
    return {"ome": ome, "wsi_vit": ours}


def labels_attributes() -> dict[str, Any]:
    """Return the attributes of the `labels` group."""
    return {"ome": {"version": VERSION, "labels": ["classes"]}}


def classes_attributes(canvas: Canvas, labels: LabelMap, levels: int) -> dict[str, Any]:
    """Return the attributes of the label image: its levels, and colour and name of each value."""
    how = "most frequent among 2 x 2, the lower id on a tie"
    ome = {
        "version": VERSION,
        "multiscales": [_multiscale("classes", canvas, levels, channels=False, how=how)],
        "image-label": {
            "version": VERSION,
            "colors": [*_colours(labels), {"label-value": IGNORE_ID, "rgba": [0, 0, 0, 0]}],
            "properties": [*_names(labels), {"label-value": IGNORE_ID, "name": "not computed"}],
            "source": {"image": "../../"},
        },
    }
    return {"ome": ome, "wsi_vit": {"ids": "export ids", "not_computed": IGNORE_ID}}


def _colours(labels: LabelMap) -> list[dict[str, Any]]:
    return [
        {"label-value": number, "rgba": [*colour, 255]}
        for number, colour in zip(labels.export_ids, labels.colours.tolist(), strict=True)
    ]


def _names(labels: LabelMap) -> list[dict[str, Any]]:
    return [
        {"label-value": number, "name": name, "training_id": index}
        for index, (number, name) in enumerate(zip(labels.export_ids, labels.names, strict=True))
    ]


def _multiscale(
    name: str, canvas: Canvas, levels: int, *, channels: bool, how: str
) -> dict[str, Any]:
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    return {
        "name": name,
        "axes": [{"name": "c", "type": "channel"}, *space] if channels else space,
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": _transformations(canvas, level, channels=channels),
            }
            for level in range(levels)
        ],
        "type": "2 x 2 blocks",
        "metadata": {"method": how},
    }


def _transformations(canvas: Canvas, level: int, *, channels: bool) -> list[dict[str, Any]]:
    """Place a level on the slide whose own base pixel 0 has its centre at 0 µm.

    A map pixel covers `step` base pixels, so its centre lies (step - 1) / 2 of them further on.
    """
    step = canvas.step * 2**level
    scale, shift = step * canvas.mpp, (step - 1) / 2 * canvas.mpp
    lead = [1.0] if channels else []
    start = [0.0] if channels else []
    return [
        {"type": "scale", "scale": [*lead, scale, scale]},
        {"type": "translation", "translation": [*start, shift, shift]},
    ]
