"""What a recipe will take, before any work: arithmetic on each slide, and a few tiles' bytes."""

from collections.abc import Sequence
from typing import Any

from wsi_vit.cohort import CohortRow
from wsi_vit.datasets.sources import CohortSource
from wsi_vit.errors import Reason, SlideError
from wsi_vit.pipeline import cohort_of
from wsi_vit.pipeline.outcomes import Progress, silent
from wsi_vit.recipe import Recipe
from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.slides.jpeg.encoding import encode_jpeg
from wsi_vit.slides.read_path import ReadPath, Work
from wsi_vit.slides.slide import Slide, open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilePlan, TilesSection, plan_tiles
from wsi_vit.slides.tiling import tiles_shape
from wsi_vit.store import Store

_SAMPLES = 6
"""Tiles of each slide that are read and encoded to know their bytes, where they are encoded."""
_WORDS = {"copied": "kept as scanned", "decoded": "decoded, encoded once", "region": "region reads"}
_PLACE_BYTES = 100
"""Of a tile that is kept as its place only."""
_WEIGHT_BYTES, _ADAM_BYTES = 4, 12
"""Of a parameter; and of its gradient and two moments, where it learns."""


class SlidePlan(Section):
    """What one slide will take."""

    slide_id: str
    tiles: int = 0
    path: ReadPath | None = None
    """How the tiles are got; None where the slide cannot be used."""
    copied: int = 0
    """Tiles that keep the scanner's own bytes."""
    read_bytes: int = 0
    """Of stored tiles; 0 where only the slide's reader knows."""
    disk_bytes: int = 0
    cpu_s: float = 0.0
    """On one core like the one that the rates were measured on, see `slides.read_path`."""
    cached: bool = False
    reason: Reason | None = None
    message: str = ""

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return {
            "slide": self.slide_id,
            "tiles": self.tiles,
            "how": self._how(),
            "MB to read": self.read_bytes / 1e6,
            "MB": self.disk_bytes / 1e6,
            "CPU s": self.cpu_s,
            "there already": "yes" if self.cached else "",
            "quarantine": self.message if self.reason else "",
        }

    def _how(self) -> str:
        if self.path is None:
            return ""
        scale = f" at 1/{self.path.factor}" if self.path.factor > 1 else ""
        return f"{_WORDS[self.path.kind]}, level {self.path.level}{scale}"


class Plan(Section):
    """What the whole recipe will take."""

    slides: tuple[SlidePlan, ...]
    parameters: int
    trained: int
    """Parameters that learn."""
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
            "of which learn": f"{self.trained / 1e6:.2f} M",
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
    parameters, trained = _parameters(recipe)
    return Plan(
        slides=tuple(slides),
        parameters=parameters,
        trained=trained,
        weights_bytes=parameters * _WEIGHT_BYTES + trained * _ADAM_BYTES,
    )


def _plan_slide(row: CohortRow, section: TilesSection, store: Store) -> SlidePlan:
    try:
        given = SlideInput.of(row)
        with open_slide(row.slide, mpp=row.mpp, resolution=section.resolution) as slide:
            plan = plan_tiles(slide, section, given=given)
            work = plan.work(slide)
            is_encoded = section.store == "pixels" and work.tiles > work.copied
            tile_bytes = _sample(slide, plan, section) if is_encoded else 0.0
        shape = tiles_shape(given, section=section, store=store)
    except SlideError as error:
        return SlidePlan(slide_id=row.slide_id, reason=error.reason, message=str(error))
    return SlidePlan(
        slide_id=row.slide_id,
        tiles=work.tiles,
        path=plan.path,
        copied=work.copied,
        read_bytes=work.read_bytes,
        disk_bytes=_disk_bytes(work, tile_bytes, section),
        cpu_s=round(work.cpu_s, 3),
        cached=store.find(shape) is not None,
    )


def _disk_bytes(work: Work, tile_bytes: float, section: TilesSection) -> int:
    if section.store == "coordinates":
        return work.tiles * _PLACE_BYTES
    encoded = (work.tiles - work.copied) * tile_bytes
    return round(encoded) + (work.read_bytes if work.copied else 0)


def _sample(slide: Slide, plan: TilePlan, section: TilesSection) -> float:
    """Return the mean bytes of an encoded tile, over a few spread evenly."""
    regions: Sequence[Any] = plan.regions[:: max(1, len(plan.regions) // _SAMPLES)][:_SAMPLES]
    side, written = section.grid.tile_px, 0
    for region in regions:
        image = slide.read_rgbx(region, width_px=side, height_px=side)
        written += len(encode_jpeg(image, section.jpeg_quality, chroma=section.jpeg_chroma))
    return written / len(regions)


def _parameters(recipe: Recipe) -> tuple[int, int]:
    """Return how many parameters a recipe's model has, and how many of them learn."""
    from wsi_vit.models.building import build_model

    model = build_model(recipe.model, recipe.labels, recipe.task)
    return model.parameter_count, model.trained_count
