"""prediction.json: what was predicted with what, and what came out."""

import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic import Field

from wsi_vit.labels import LabelMap
from wsi_vit.models.anomaly.scorer import AnomalyScorer
from wsi_vit.prediction.applied import AppliedModel
from wsi_vit.prediction.canvas import Canvas, Plan
from wsi_vit.prediction.geojson import FRAME
from wsi_vit.prediction.painting import Tally
from wsi_vit.prediction.table import UNREADABLE, TileRecord
from wsi_vit.section import Section
from wsi_vit.slides.slide import Slide

_LIBRARIES = ("wsi-vit", "torch", "transformers", "numpy", "zarr", "shapely", "openslide-bin")


class SlideFacts(Section):
    """The slide that was predicted."""

    slide_id: str
    sha256: str
    file: str
    """Name without folder."""
    width: int
    height: int
    vendor: str
    reader: str
    bounds: tuple[float, float, float, float] | None
    """x, y, width, height of the scanned part, in base pixels; positions do not move by it."""


class ModelFacts(Section):
    """The model that predicted."""

    digest: str
    task: str
    input_px: int


class ResolutionFacts(Section):
    """Micrometres per pixel, asked for and got."""

    requested_mpp: float
    effective_mpp: float
    slide_mpp: float
    source: str
    """Who said what the slide's resolution is."""


class MapFacts(Section):
    """The class map's grid."""

    frame: str = FRAME
    grid: str = "pixel (i, j) covers base pixels [j s, (j + 1) s) x [i s, (i + 1) s), s = step"
    step_base_px: float
    width_px: int
    height_px: int
    pixel_um: float
    tile_px: int
    """Side of a tile in map pixels; 1: a pixel is a tile."""
    stride_px: int
    ids: str = "export ids in files; 255 not computed"


class InvalidTile(Section):
    """A tile that could not be predicted."""

    x: float
    y: float
    reason: str


class TileFacts(Section):
    """What became of the tiles."""

    planned: int
    predicted: int
    invalid: tuple[InvalidTile, ...]


class ClassFacts(Section):
    """How much of the slide is of one class."""

    training_id: int
    export_id: int
    name: str
    colour: str
    area_mm2: float
    share: float
    """Of the area that was computed; of several labels, which do not exclude each other, these do
    not sum to 1."""
    threshold: float | None = None
    """The score from which on a label is present; None of classes."""


class AnomalyFacts(Section):
    """How unlike the model's training the slide is; the tiles' own scores are in the table."""

    score: str
    limit: float
    """99 of 100 tiles of the training score less, each asked without its patient."""
    share: float
    """Of the predicted tiles, those beyond the limit."""
    usual_share: float | None
    """The same of the model's own test split: what is usual on patients it does not know."""


class Provenance(Section):
    """What it was made with; the only part that may differ between machines."""

    versions: dict[str, str]
    python: str
    device: str


class PredictionRecord(Section):
    """Everything needed to believe, name and repeat a prediction of a slide."""

    slide: SlideFacts
    model: ModelFacts
    settings: dict[str, Any]
    """The sections that shaped it: `prediction` and `tiles`."""
    resolution: ResolutionFacts
    map: MapFacts
    tiles: TileFacts
    classes: tuple[ClassFacts, ...]
    computed_mm2: float
    anomaly: AnomalyFacts | None = None
    """None of a model without an anomaly score."""
    outlines: int = Field(ge=0)
    """Annotations in annotations.geojson."""
    provenance: Provenance


def slide_facts(slide: Slide, *, slide_id: str, sha256: str) -> SlideFacts:
    """Describe a slide; of its properties only what is named here is copied."""
    bounds = slide.bounds
    return SlideFacts(
        slide_id=slide_id,
        sha256=sha256,
        file=slide.path.name,
        width=slide.size[0],
        height=slide.size[1],
        vendor=slide.vendor,
        reader=slide.reader,
        bounds=None if bounds is None else (bounds.x, bounds.y, bounds.width, bounds.height),
    )


def model_facts(applied: AppliedModel) -> ModelFacts:
    """Describe the model that predicts."""
    model = applied.model
    return ModelFacts(digest=applied.digest, task=model.task, input_px=model.input_px)


def map_facts(canvas: Canvas) -> MapFacts:
    """Describe the class map's grid."""
    return MapFacts(
        step_base_px=canvas.step,
        width_px=canvas.width_px,
        height_px=canvas.height_px,
        pixel_um=canvas.pixel_um,
        tile_px=canvas.patch_px,
        stride_px=canvas.stride_px,
    )


def resolution_facts(slide: Slide, plan: Plan, applied: AppliedModel) -> ResolutionFacts:
    """Say which resolution was asked for, and which one the model saw."""
    grid, side = applied.tiling().grid, plan.canvas.step * plan.canvas.patch_px
    return ResolutionFacts(
        requested_mpp=grid.mpp,
        effective_mpp=float(slide.mpp) * side / grid.tile_px,
        slide_mpp=float(slide.mpp),
        source=slide.resolution.source,
    )


def tile_facts(records: Sequence[TileRecord]) -> TileFacts:
    """Count the tiles, and list those that could not be read."""
    invalid = [
        InvalidTile(x=r.planned.region.x, y=r.planned.region.y, reason=r.reason)
        for r in records
        if r.reason == UNREADABLE
    ]
    predicted = sum(record.scores is not None for record in records)
    return TileFacts(planned=len(records), predicted=predicted, invalid=tuple(invalid))


def anomaly_facts(
    records: Sequence[TileRecord], scorer: AnomalyScorer | None
) -> AnomalyFacts | None:
    """Return how many tiles are beyond what is usual; None without a scorer."""
    if scorer is None:
        return None
    told = [record.anomaly for record in records if record.anomaly is not None]
    beyond = sum(score > scorer.limit for score in told)
    return AnomalyFacts(
        score=scorer.section.score,
        limit=scorer.limit,
        share=round(beyond / len(told), 6) if told else 0.0,
        usual_share=scorer.usual_share,
    )


def class_facts(tally: Tally, canvas: Canvas, labels: LabelMap) -> tuple[ClassFacts, ...]:
    """Return the area of each class in mm² and its share of all that was computed."""
    total = float(tally.areas_px.sum())
    return tuple(
        ClassFacts(
            training_id=index,
            export_id=labels.export_ids[index],
            name=item.name,
            colour=item.colour,
            area_mm2=round(float(area) * canvas.pixel_um**2 / 1e6, 6),
            share=round(float(area) / total, 6) if total else 0.0,
        )
        for index, (item, area) in enumerate(zip(labels.classes, tally.areas_px, strict=True))
    )


@cache
def provenance(device: str) -> Provenance:
    """Return the versions of what takes part in a prediction."""
    return Provenance(
        versions={name: version(name) for name in _LIBRARIES},
        python=platform.python_version(),
        device=device,
    )
