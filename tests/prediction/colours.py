"""A model that knows classes by their colour, and slides painted in those colours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_vit.datasets.example import Task
from wsi_vit.labels import LabelMap
from wsi_vit.models.model import Model
from wsi_vit.prediction.applied import AppliedModel
from wsi_vit.slides.grid import GridSection
from wsi_vit.slides.tiles import TilesSection

GLASS = (243, 243, 243)
PAINT = np.array([(150, 70, 150), (225, 150, 190), (110, 110, 200)], np.uint8)
"""The colour of each class on the slide: like haematoxylin, eosin, mucin."""

LABELS = LabelMap.model_validate(
    {
        "classes": [
            {"name": "tumour", "export_id": 3, "colour": "#d55e00"},
            {"name": "stroma", "export_id": 7, "colour": "#56b4e9"},
            {"name": "mucus", "export_id": 1, "colour": "#f0e442"},
        ]
    }
)


@dataclass
class ByColour:
    """Scores fall with the distance to a class's colour; no weights, nothing to learn."""

    task: Task = "segmentation"
    labels: LabelMap = LABELS
    input_px: int = 64
    training: bool = False
    calls: int = 0

    def scores(self, images: Tensor) -> Tensor:
        self.calls += 1
        paint = torch.from_numpy(PAINT).float()[None, :, :, None, None]
        distance = (images.float()[:, None] - paint).square().sum(2)
        scores = torch.softmax(-distance / 100, dim=1)
        return scores if self.task == "segmentation" else scores.mean((2, 3))


def applied(task: Task = "segmentation", *, tile_px: int = 64, mpp: float = 1.0) -> AppliedModel:
    return AppliedModel(
        model=cast(Model, ByColour(task)),
        digest="c0" * 32,
        device=torch.device("cpu"),
        tiles=TilesSection(grid=GridSection(tile_px=tile_px, mpp=mpp)),
    )


def checkerboard(width: int, height: int, *, cell: int, glass: int) -> NDArray[np.uint8]:
    """Class ids (height, width) in squares; 255 in a frame of glass at the left and the top."""
    down, across = np.arange(height)[:, None] // cell, np.arange(width)[None, :] // cell
    ids = ((down + 2 * across) % len(PAINT)).astype(np.uint8)
    ids[:glass], ids[:, :glass] = 255, 255
    return ids


def painted(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    palette = np.full((256, 3), GLASS, np.uint8)
    palette[: len(PAINT)] = PAINT
    return palette[ids]


def write_slide(path: Path, pixels: NDArray[np.uint8], **options: Any) -> Path:
    """A tiled TIFF without loss, one level, no resolution."""
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        compression=options.get("compression", "deflate"),
    )
    return path


def coverage(ids: NDArray[np.uint8], class_id: int, step: float) -> NDArray[np.float64]:
    """Share of each map pixel that is of a class, by areas; the reference for what was read."""
    inside = (ids == class_id).astype(np.float64)
    for _ in range(2):
        inside = _shrunk(inside, step).T
    return inside / step**2


def _shrunk(lines: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Add up the rows (n, m) in steps of a broken number of them."""
    length = lines.shape[0]
    edges = np.minimum(np.arange(int(np.ceil(length / step)) + 1) * step, length)
    sums = np.vstack([np.zeros(lines.shape[1]), np.cumsum(lines, axis=0)])
    low = np.minimum(edges.astype(int), length - 1)
    at_edges = sums[low] + (edges - low)[:, None] * (sums[low + 1] - sums[low])
    return np.diff(at_edges, axis=0)
