"""Where the class map lies on the slide, and which tiles fill it: arithmetic only."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.example import Task
from wsi_vit.geometry import Region
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.stitch import Stripe, cut_stripes
from wsi_vit.slides.quality.section import QualitySection
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection, plan_tiles
from wsi_vit.slides.tissue.mask import TissueMask

_SLACK = 1e-9
SHARD_PX = 1024
"""Side of a shard of the class map: stripes and bands end on its multiples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The grid of the class map.

    Its pixel (row i, column j) covers the base pixels [j s, (j+1) s) x [i s, (i+1) s), s being
    `step`, which is never rounded. The last row and column may reach beyond the plane.
    """

    step: float
    """Base pixels a side of a map pixel."""
    plane: tuple[int, int]
    """Width and height of the slide, in base pixels."""
    mpp: float
    """Micrometres per base pixel."""
    patch_px: int
    """Side of a tile in map pixels; 1 where a tile has one class."""
    stride_px: int
    """From one tile to the next, in map pixels."""

    @property
    def width_px(self) -> int:
        """Columns of the map."""
        return max(1, math.ceil(self.plane[0] / self.step - _SLACK))

    @property
    def height_px(self) -> int:
        """Rows of the map."""
        return max(1, math.ceil(self.plane[1] / self.step - _SLACK))

    @property
    def pixel_um(self) -> float:
        """Side of a map pixel in micrometres."""
        return self.step * self.mpp

    def shares(self, start: int, count: int, *, axis: int) -> NDArray[np.float64]:
        """Return how much of each row (axis 1) or column (axis 0) lies on the plane, 0 to 1."""
        edges = np.clip((start + np.arange(count + 1.0)) * self.step, 0, self.plane[axis])
        return (edges[1:] - edges[:-1]) / self.step


@dataclass(frozen=True, slots=True)
class PlannedTile:
    """One tile that the model shall see."""

    number: int
    """Position among the planned tiles, row-major."""
    column: int
    row: int
    region: Region
    tissue: float
    """Share of it that is tissue; 0 where the overview could not be read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read, and where it goes."""

    canvas: Canvas
    mask: TissueMask
    tiles: tuple[PlannedTile, ...]

    def tiles_of(self, stripe: Stripe) -> list[PlannedTile]:
        """Return the tiles that touch a stripe, row-major."""
        canvas = self.canvas
        return [
            tile
            for tile in self.tiles
            if tile.column * canvas.stride_px < stripe.right
            and tile.column * canvas.stride_px + canvas.patch_px > stripe.left
        ]


def plan_prediction(
    slide: Slide,
    tiles: TilesSection,
    task: Task,
    section: PredictionSection,
    *,
    given: SlideInput | None = None,
) -> Plan:
    """Lay tiles over the tissue of a slide, at the resolution the model was trained at.

    Outlines of the tissue that `given` names win over what is found. The recipe's quality limits
    keep tiles from being learnt from, not from being predicted.

    Raises:
        SlideError: NO_TISSUE, TOO_COARSE, BAD_TISSUE_MASK or NO_MPP.
    """
    dense = task == "segmentation"
    least = section.min_tissue
    if least is None:
        least = 0.0 if dense else tiles.grid.min_tissue
    cells = tiles.grid.tile_px if dense else 1
    return lay_tiles(
        slide, tiles, cells=cells, overlap=section.overlap, min_tissue=least, given=given
    )


def lay_tiles(
    slide: Slide,
    tiles: TilesSection,
    *,
    cells: int,
    overlap: float,
    min_tissue: float,
    given: SlideInput | None = None,
) -> Plan:
    """Lay tiles over the tissue of a slide, of which the model says `cells` x `cells` values each.

    The stride is whole cells, so that every tile lies on the map's own grid; tiles of one cell do
    not overlap.

    Raises:
        SlideError: NO_TISSUE, TOO_COARSE, BAD_TISSUE_MASK or NO_MPP.
    """
    stride = max(1, round(cells * (1 - overlap)))
    cut = {"overlap": 1 - stride / cells, "edge": "pad", "min_tissue": min_tissue}
    grid_section = tiles.grid.model_copy(update=cut)
    unlimited = {"grid": grid_section, "quality": QualitySection()}
    planned = plan_tiles(slide, tiles.model_copy(update=unlimited), given=given)
    canvas = Canvas(
        step=planned.grid.side / cells,
        plane=slide.size,
        mpp=float(slide.mpp),
        patch_px=cells,
        stride_px=stride,
    )
    placed = _placed(planned.regions, planned.tissue, planned.grid.stride)
    return Plan(canvas, planned.mask, placed)


def _placed(
    regions: Sequence[Region], tissue: NDArray[np.float64], stride: float
) -> tuple[PlannedTile, ...]:
    return tuple(
        PlannedTile(number, round(region.x / stride), round(region.y / stride), region, share)
        for number, (region, share) in enumerate(zip(regions, tissue.tolist(), strict=True))
    )


def stripes(canvas: Canvas, *, classes: int, memory_mb: int) -> Iterator[Stripe]:
    """Cut the map into vertical stripes whose stitching fits the memory ceiling."""
    patch, stride = canvas.patch_px, canvas.stride_px
    held = 4 * (classes + 1) * (patch + 2 * stride)  # sums, weights, and the rows leaving them
    column_bytes = held + (classes + 1) * (SHARD_PX + stride)  # and the rows of an unfilled shard
    return cut_stripes(
        canvas.width_px, column_bytes=column_bytes, memory_mb=memory_mb, unit_px=SHARD_PX
    )
