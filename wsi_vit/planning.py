"""What a recipe will take, before any work: a plan measured on a few tiles of each slide."""

import time
from collections.abc import Sequence
from typing import Any

from wsi_vit.cohort import CohortRow
from wsi_vit.datasets.sources import CohortSource
from wsi_vit.errors import Reason, SlideError
from wsi_vit.models.model import Model
from wsi_vit.pipeline import cohort_of
from wsi_vit.pipeline.outcomes import Progress, silent
from wsi_vit.recipe import Recipe
from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.slides.jpeg import encode_jpeg
from wsi_vit.slides.slide import Slide, open_slide
from wsi_vit.slides.tiles import TilePlan, TilesSection, plan_tiles, tiles_shape
from wsi_vit.store import Store

_SAMPLES = 6
"""Tiles of each slide that are read and encoded to know what one takes."""
_ADAM_BYTES = 16
"""Weight, gradient and two moments of a parameter, four bytes each."""


class SlidePlan(Section):
    """What one slide will take."""

    slide_id: str
    tiles: int = 0
    disk_bytes: int = 0
    cpu_s: float = 0.0
    cached: bool = False
    reason: Reason | None = None
    message: str = ""

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return {
            "slide": self.slide_id,
            "tiles": self.tiles,
            "MB": self.disk_bytes / 1e6,
            "CPU s": self.cpu_s,
            "there already": "yes" if self.cached else "",
            "quarantine": self.message if self.reason else "",
        }


class Plan(Section):
    """What the whole recipe will take."""

    slides: tuple[SlidePlan, ...]
    parameters: int
    weights_bytes: int
    """Device memory for weights, gradients and optimiser; activations come on top."""

    def summary(self) -> dict[str, Any]:
        """Return the sums as a row of a table."""
        new = [slide for slide in self.slides if not slide.cached]
        return {
            "tiles": sum(slide.tiles for slide in self.slides),
            "MB to write": sum(slide.disk_bytes for slide in new) / 1e6,
            "CPU minutes of tiling": sum(slide.cpu_s for slide in new) / 60,
            "parameters": f"{self.parameters / 1e6:.1f} M",
            "device memory": f"{self.weights_bytes / 1e9:.2f} GB and the activations",
        }


def plan_recipe(recipe: Recipe, *, settings: Settings, progress: Progress = silent) -> Plan:
    """Plan a recipe: every slide is opened, its tissue found, a few tiles cut; none is kept.

    Raises:
        CohortError: No cohort is named, or its file has faults.
        ModelError: The first weights are missing.
    """
    slides: list[SlidePlan] = []
    if isinstance(recipe.source, CohortSource):
        rows, store = cohort_of(recipe).rows, Store(settings.store_root)
        for index, row in enumerate(rows):
            progress(f"planning slides: {row.slide_id}", index, len(rows))
            slides.append(_plan_slide(row, recipe.source.tiles, store))
        progress("planning slides", len(rows), len(rows))
    parameters = _parameters(recipe.model.build(recipe.labels, recipe.task))
    return Plan(slides=tuple(slides), parameters=parameters, weights_bytes=parameters * _ADAM_BYTES)


def _plan_slide(row: CohortRow, section: TilesSection, store: Store) -> SlidePlan:
    try:
        with open_slide(row.slide, mpp=row.mpp, resolution=section.resolution) as slide:
            plan = plan_tiles(slide, section)
            tile_bytes, tile_s = _sample(slide, plan, section)
        shape = tiles_shape(
            row.slide, slide_id=row.slide_id, mpp=row.mpp, section=section, store=store
        )
    except SlideError as error:
        return SlidePlan(slide_id=row.slide_id, reason=error.reason, message=str(error))
    count = len(plan.regions)
    return SlidePlan(
        slide_id=row.slide_id,
        tiles=count,
        disk_bytes=round(count * tile_bytes),
        cpu_s=round(count * tile_s, 3),
        cached=store.find(shape) is not None,
    )


def _sample(slide: Slide, plan: TilePlan, section: TilesSection) -> tuple[float, float]:
    """Return the mean bytes and CPU seconds of a tile, over a few spread evenly."""
    regions: Sequence[Any] = plan.regions[:: max(1, len(plan.regions) // _SAMPLES)][:_SAMPLES]
    side, written, started = section.grid.tile_px, 0, time.process_time()
    for region in regions:
        image = slide.read(region, width_px=side, height_px=side)
        written += len(encode_jpeg(image, section.jpeg_quality))
    return written / len(regions), (time.process_time() - started) / len(regions)


def _parameters(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
