"""Predict a whole slide: the stage `prediction`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_vit.errors import Reason, SlideError
from wsi_vit.labels import LabelMap
from wsi_vit.prediction.applied import AppliedModel, load_applied
from wsi_vit.prediction.canvas import Plan, plan_prediction
from wsi_vit.prediction.geojson import Annotations, outline_classes, write_geojson
from wsi_vit.prediction.ome_zarr import ClassMap
from wsi_vit.prediction.overview import draw_overview
from wsi_vit.prediction.painting import Painter, TileJudge
from wsi_vit.prediction.record import (
    ClassFacts,
    PredictionRecord,
    anomaly_facts,
    class_facts,
    map_facts,
    model_facts,
    provenance,
    resolution_facts,
    slide_facts,
    tile_facts,
)
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.slide_labels import LabelMaps, draw_labels
from wsi_vit.prediction.table import TileRecord, write_table
from wsi_vit.slides.files import printable_name, slide_digest, usable_file
from wsi_vit.slides.slide import Slide, open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.stain.sampling import fit_slide
from wsi_vit.slides.stain.stage import SlideStain
from wsi_vit.slides.tiles import Progress
from wsi_vit.slides.tissue.outlines import outlines_digest
from wsi_vit.store import DigestCache, Recorded, Shape, Store, write_record

VERSION = 1
STAGE = "prediction"
RECORD, CLASS_MAP = "prediction.json", "classes.ome.zarr"
ANNOTATIONS, TILES, OVERVIEW = "annotations.geojson", "tiles.parquet", "overview.png"


@dataclass(frozen=True, slots=True)
class Prediction(Recorded[PredictionRecord]):
    """A finished prediction of a slide."""

    @property
    def overview(self) -> Path:
        """The picture of slide and class map."""
        return self.folder / OVERVIEW

    @property
    def shares(self) -> dict[str, float]:
        """Share of the computed area that each class covers, or each label is in."""
        return {item.name: item.share for item in self.record.classes}


def predict_slide(
    model: AppliedModel | Path,
    slide: SlideInput | Path,
    *,
    out: Path,
    section: PredictionSection | None = None,
    progress: Progress | None = None,
) -> Prediction:
    """Predict a slide with a model, or find that this was done already.

    `out/prediction/<key>/` gets `classes.ome.zarr`, `annotations.geojson`, `tiles.parquet`,
    `overview.png` and `prediction.json`, all of them or none. The key is the digest of slide, model
    and settings; without a section, those saved with the model hold. Load the model once
    (`load_applied`) to predict many slides. A model of several labels a tile gives no class map.

    Raises:
        SlideError: The slide must be quarantined; the reason code says why.
        ModelError: The model cannot be loaded, was not trained on slides, or gives no scores.
        StoreError: The result cannot be written.
    """
    applied = load_applied(model) if isinstance(model, Path) else model
    given = SlideInput(slide) if isinstance(slide, Path) else slide
    section = section or applied.section
    printable_name(given.name)
    usable_file(given.path)
    store = Store(out)
    shape = prediction_shape(given, applied, section, store)

    def make(folder: Path) -> dict[str, Any]:
        resolution = applied.tiling().resolution
        with open_slide(given.path, mpp=given.mpp, resolution=resolution) as opened:
            stain = stain_of(opened, applied)
            kind = _Job if applied.thresholds is None else _LabelsJob
            job = kind(opened, applied, section, given, shape.inputs["slide"], stain)
            return job.make(folder, progress)

    return Prediction.read(store.ensure(shape, make), RECORD, PredictionRecord)


def prediction_shape(
    slide: SlideInput, applied: AppliedModel, section: PredictionSection, store: Store
) -> Shape:
    """Return what decides a prediction, and so names it."""
    sections: dict[str, Any] = {
        "prediction": section.shaping("slides"),
        "tiles": applied.tiling(),
        "slide_id": slide.name,
        "mpp": slide.mpp,
    }
    if applied.stain:
        sections["stain"] = applied.stain
    digest = slide_digest(slide.path, DigestCache(store.root))
    inputs = {"slide": digest, "model": applied.digest}
    if applied.anomaly is not None:
        inputs["anomaly"] = applied.anomaly.digest
    if slide.tissue_mask is not None:
        inputs["tissue_mask"] = outlines_digest(slide.tissue_mask)
    return Shape.of(STAGE, VERSION, sections=sections, inputs=inputs)


def stain_of(slide: Slide, applied: AppliedModel) -> SlideStain | None:
    """Return what becomes of a slide's stains, as in the model's training."""
    if applied.stain is None:
        return None
    fit = fit_slide(slide, applied.stain, applied.tiling().tissue)
    return SlideStain(section=applied.stain, fit=fit)


@dataclass(frozen=True, slots=True)
class _Job:
    """One slide being predicted."""

    slide: Slide
    applied: AppliedModel
    section: PredictionSection
    given: SlideInput
    sha256: str
    stain: SlideStain | None

    @property
    def labels(self) -> LabelMap:
        return self.applied.model.labels

    def make(self, folder: Path, progress: Progress | None) -> dict[str, Any]:
        """Write every file of the artefact; return its facts."""
        applied, section = self.applied, self.section
        tiles, task = applied.tiling(), applied.model.task
        plan = plan_prediction(self.slide, tiles, task, section, given=self.given)
        target = ClassMap(folder / CLASS_MAP, plan.canvas, self.labels)
        target.create()
        painter = Painter(
            self.slide,
            plan,
            applied=applied,
            target=target,
            section=section,
            stain=self.stain.map if self.stain else None,
        )
        tally = painter.paint(progress)
        records = [tally.records[number] for number in sorted(tally.records)]
        self._refuse_damage(records)
        target.build_pyramid()
        annotations = outline_classes(
            target, most_px=section.outline_px, min_area_um2=section.min_area_um2
        )
        outlines = self._export(folder, plan, annotations, records)
        record = self._record(plan, records, class_facts(tally, plan.canvas, self.labels), outlines)
        write_record(folder / RECORD, record)
        draw_overview(self.slide, target, record, longest_px=section.overview_px).save(
            folder / OVERVIEW
        )
        return _facts(record)

    def _refuse_damage(self, records: Sequence[TileRecord]) -> None:
        found = tile_facts(records)
        refuse_too_many_invalid(
            self.slide,
            len(found.invalid),
            planned=len(records),
            predicted=found.predicted,
            most=self.applied.tiling().max_invalid,
        )

    def _export(
        self, folder: Path, plan: Plan, annotations: Annotations, records: Sequence[TileRecord]
    ) -> int:
        """Write annotations and tile table; return how many annotations there are."""
        write_geojson(folder / ANNOTATIONS, annotations, bounds=self.slide.bounds)
        write_table(
            folder / TILES,
            records,
            slide_id=self.given.name,
            mpp=resolution_facts(self.slide, plan, self.applied).effective_mpp,
            labels=self.labels,
            thresholds=self.applied.thresholds,
        )
        return len(annotations.features)

    def _record(
        self,
        plan: Plan,
        records: Sequence[TileRecord],
        classes: tuple[ClassFacts, ...],
        outlines: int,
    ) -> PredictionRecord:
        return PredictionRecord(
            slide=slide_facts(self.slide, slide_id=self.given.name, sha256=self.sha256),
            model=model_facts(self.applied),
            settings={
                "prediction": self.section.shaping("slides"),
                "tiles": self.applied.tiling().model_dump(mode="json"),
                **({"stain": self.stain.model_dump(mode="json")} if self.stain else {}),
            },
            resolution=resolution_facts(self.slide, plan, self.applied),
            map=map_facts(plan.canvas),
            tiles=tile_facts(records),
            classes=classes,
            computed_mm2=round(sum(item.area_mm2 for item in classes), 6),
            anomaly=anomaly_facts(records, self.applied.anomaly),
            outlines=outlines,
            provenance=provenance(self.applied.device.type),
        )


@dataclass(frozen=True, slots=True)
class _LabelsJob(_Job):
    """A slide whose tiles have several labels: no class map, and outlines of each label."""

    def make(self, folder: Path, progress: Progress | None) -> dict[str, Any]:
        """Write every file of the artefact; return its facts."""
        applied, section = self.applied, self.section
        tiling, task = applied.tiling(), applied.model.task
        plan = plan_prediction(self.slide, tiling, task, section, given=self.given)
        stain = self.stain.map if self.stain else None
        judge = TileJudge(self.slide, plan, applied=applied, section=section, stain=stain)
        records = judge.judge(progress)
        self._refuse_damage(records)
        maps = LabelMaps.of(
            records, canvas=plan.canvas, labels=self.labels, thresholds=applied.thresholds or ()
        )
        annotations = maps.outlines(min_area_um2=section.min_area_um2)
        outlines = self._export(folder, plan, annotations, records)
        record = self._record(plan, records, maps.facts(), outlines).model_copy(
            update={"map": maps.grid(), "computed_mm2": round(float(maps.areas_mm2[0]), 6)}
        )
        write_record(folder / RECORD, record)
        draw_labels(self.slide, maps, record, longest_px=section.overview_px).save(
            folder / OVERVIEW
        )
        return _facts(record)


def refuse_too_many_invalid(
    slide: Slide, invalid: int, *, planned: int, predicted: int, most: float
) -> None:
    """Refuse a slide of which more than a share of the planned tiles, or all, cannot be read.

    Raises:
        SlideError: UNREADABLE_TILES.
    """
    if invalid <= most * planned and predicted:
        return
    raise SlideError(
        Reason.UNREADABLE_TILES,
        f"More than {most:.0%} of the tiles cannot be read, or all",
        got=f"{invalid} of {planned} in {slide.path.name}",
        remedy="Copy the slide from the scanner again; `wsi-vit slides check` lists the bad",
    )


def _facts(record: PredictionRecord) -> dict[str, Any]:
    return {
        "slide_id": record.slide.slide_id,
        "tiles": record.tiles.predicted,
        "invalid": len(record.tiles.invalid),
        "shares": {item.name: item.share for item in record.classes},
        "computed_mm2": record.computed_mm2,
        **({"unlike_training": record.anomaly.share} if record.anomaly else {}),
    }
