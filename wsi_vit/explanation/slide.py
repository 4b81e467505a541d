"""Explain a whole slide: tile by tile over its tissue, and stitched."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.explanation.artefacts import (
    STAGE,
    VERSION,
    Explanation,
    Progress,
    facts_of,
    judged,
    settings_of,
    silent,
)
from wsi_vit.explanation.faithfulness import Faithfulness, Gain, gain
from wsi_vit.explanation.figure import relative
from wsi_vit.explanation.maps import Explained, Explainer
from wsi_vit.explanation.record import (
    EACH_OWN,
    FIGURE,
    FORMULAS,
    MAP,
    RECORD,
    SlideExplanation,
    SlideMap,
    class_scores,
)
from wsi_vit.explanation.slide_sheet import draw_slide
from wsi_vit.labels import IGNORE_ID
from wsi_vit.prediction.canvas import Plan, PlannedTile, lay_tiles
from wsi_vit.prediction.reading import ReadTile, read_ahead
from wsi_vit.prediction.record import model_facts, provenance, resolution_facts, slide_facts
from wsi_vit.prediction.slide import refuse_too_many_invalid, stain_of
from wsi_vit.prediction.stitch import Band, BandBlender, blended
from wsi_vit.slides.files import printable_name, slide_digest, usable_file
from wsi_vit.slides.slide import Slide, open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.stain.mapping import StainMap
from wsi_vit.slides.tissue.outlines import outlines_digest
from wsi_vit.store import DigestCache, Shape, Store, write_record


def explain_slide(
    explainer: Explainer, given: SlideInput, *, out: Path, progress: Progress = silent
) -> Explanation[SlideExplanation]:
    """Explain a slide, or find that this was done already.

    The model sees tiles as in `predict_slide`, but overlapping, because a map knows less at a
    tile's rim. `out/explanation/<key>/` gets `map.npy`, `explanation.png` and `explanation.json`,
    all of them or none.

    Raises:
        SlideError: The slide must be quarantined; the reason code says why.
        ModelError: The model was not trained on slides.
        StoreError: The result cannot be written.
    """
    printable_name(given.name)
    usable_file(given.path)
    store = Store(out)
    shape = _shape(explainer, given, store)

    def make(folder: Path) -> dict[str, Any]:
        applied = explainer.applied
        resolution = applied.tiling().resolution
        with open_slide(given.path, mpp=given.mpp, resolution=resolution) as opened:
            stain = stain_of(opened, applied)
            stain_map = stain.map if stain else None
            return _Job(explainer, opened, given, shape, stain_map, progress).make(folder)

    return Explanation.read(store.ensure(shape, make), RECORD, SlideExplanation)


def _shape(explainer: Explainer, given: SlideInput, store: Store) -> Shape:
    applied = explainer.applied
    sections: dict[str, Any] = {
        "explanation": settings_of(explainer, "slides"),
        "tiles": applied.tiling(),
        "slide_id": given.name,
        "mpp": given.mpp,
    }
    if applied.stain:
        sections["stain"] = applied.stain
    inputs = {
        "slide": slide_digest(given.path, DigestCache(store.root)),
        "model": applied.digest,
    }
    if given.tissue_mask is not None:
        inputs["tissue_mask"] = outlines_digest(given.tissue_mask)
    return Shape.of(STAGE, VERSION, sections=sections, inputs=inputs)


@dataclass(slots=True)
class _Tally:
    """What was found on the way."""

    scores: NDArray[np.float64]
    """Sums over tiles, (classes,)."""
    explained: int = 0
    invalid: int = 0
    sample: list[tuple[NDArray[np.uint8], NDArray[np.float32], int]] = field(default_factory=list)
    """Tiles to be tested: pixels, map, class."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One slide being explained."""

    explainer: Explainer
    slide: Slide
    given: SlideInput
    shape: Shape
    stain: StainMap | None
    progress: Progress

    def make(self, folder: Path) -> dict[str, Any]:
        """Write every file of the artefact; return its facts."""
        plan = self._plan()
        tally = _Tally(np.zeros(len(self.explainer.applied.model.labels)))
        ids = self._write_map(folder / MAP, plan, tally)
        tiling = self.explainer.applied.tiling()
        refuse_too_many_invalid(
            self.slide,
            tally.invalid,
            planned=len(plan.tiles),
            predicted=tally.explained,
            most=tiling.max_invalid,
        )
        record = self._record(plan, tally)
        write_record(folder / RECORD, record)
        values = np.load(folder / MAP, mmap_mode="r")
        longest = self.explainer.section.overview_px
        labels = self.explainer.applied.model.labels
        draw_slide(self.slide, record, values, ids, labels=labels, longest_px=longest).save(
            folder / FIGURE
        )
        return facts_of(record)

    def _plan(self) -> Plan:
        tiling = self.explainer.applied.tiling()
        rows, _ = self.explainer.grid
        return lay_tiles(
            self.slide,
            tiling,
            cells=rows,
            overlap=self.explainer.section.overlap,
            min_tissue=tiling.grid.min_tissue,
            given=self.given,
        )

    def _write_map(self, path: Path, plan: Plan, tally: _Tally) -> NDArray[np.uint8]:
        """Write the values and return the class ids of the same cells; 255 where there is none."""
        canvas = plan.canvas
        size = canvas.height_px, canvas.width_px
        values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=size)
        ids = np.full(size, IGNORE_ID, np.uint8)
        blender = BandBlender(
            classes=1 + len(tally.scores), width_px=canvas.width_px, tile_px=canvas.patch_px
        )
        top = 0
        # Closed before the slide is, come what may: a thread that still reads would crash.
        with closing(self._read(plan.tiles)) as read:
            tiles = self._placed(read, plan, tally)
            for band in blended(tiles, blender, stride_px=canvas.stride_px):
                _fill(band, values[top:], ids[top:])
                top += band.is_covered.shape[0]
        values[top:] = np.nan
        values.flush()
        return ids

    def _read(self, tiles: Sequence[PlannedTile]) -> Any:
        applied = self.explainer.applied
        return read_ahead(
            self.slide,
            tiles,
            tile_px=applied.tiling().grid.tile_px,
            ahead=2 * self.explainer.batch_size,
            stain=self.stain,
        )

    def _placed(
        self, read: Iterator[ReadTile], plan: Plan, tally: _Tally
    ) -> Iterator[tuple[int, int, NDArray[np.float32] | None]]:
        """Yield each tile's place with its values and its scores, (1 + classes, cells, cells)."""
        total, done = len(plan.tiles), 0
        wanted = self._sampled(total)
        while batch := list(islice(read, self.explainer.batch_size)):
            for tile, answer in zip(batch, self._answers(batch, wanted, tally), strict=True):
                planned = tile.planned
                yield planned.row, planned.column * plan.canvas.stride_px, answer
                done += 1
                self.progress("explaining", done, total)

    def _answers(
        self, batch: Sequence[ReadTile], wanted: set[int], tally: _Tally
    ) -> Iterator[NDArray[np.float32] | None]:
        images = [tile.image for tile in batch if tile.image is not None and tile.planned.tissue]
        found = self.explainer.explain(images) if images else None
        at = 0
        for tile in batch:
            if tile.image is None or not tile.planned.tissue or found is None:
                tally.invalid += tile.image is None
                yield None
                continue
            tally.explained += 1
            tally.scores += found.scores[at]
            if tile.planned.number in wanted:
                tally.sample.append((tile.image, found.whole[at], int(found.class_ids[at])))
            yield _stacked(found, at)
            at += 1

    def _sampled(self, total: int) -> set[int]:
        """Draw the tiles that are tested."""
        asked = self.explainer.section.faithfulness
        if asked is None:
            return set()
        rng = np.random.default_rng(asked.seed)
        return set(rng.permutation(total)[: asked.images].tolist())

    def _tested(self, tally: _Tally) -> Gain | None:
        if not tally.sample:
            return None
        tested = list[Faithfulness]()
        for each in tally.sample:
            tested.append(judged(self.explainer, *each))
            self.progress("testing", len(tested), len(tally.sample))
        return gain(tested)

    def _record(self, plan: Plan, tally: _Tally) -> SlideExplanation:
        explainer, canvas = self.explainer, plan.canvas
        applied = explainer.applied
        return SlideExplanation(
            slide=slide_facts(
                self.slide, slide_id=self.given.name, sha256=self.shape.inputs["slide"]
            ),
            model=model_facts(applied),
            method=explainer.method,
            formula=FORMULAS[explainer.method],
            settings=self.shape.sections,
            explained_class=explainer.section.class_name or EACH_OWN,
            classes=class_scores(applied.model.labels, tally.scores / max(1, tally.explained)),
            resolution=resolution_facts(self.slide, plan, applied),
            map=SlideMap(
                step_base_px=canvas.step,
                pixel_um=canvas.pixel_um,
                rows=canvas.height_px,
                columns=canvas.width_px,
                cells=canvas.patch_px,
                stride=canvas.stride_px,
            ),
            tiles=tally.explained,
            invalid=tally.invalid,
            faithfulness=self._tested(tally),
            provenance=provenance(applied.device.type),
        )


def _stacked(found: Explained, at: int) -> NDArray[np.float32]:
    """Return a tile's values above its scores, (1 + classes, cells, cells)."""
    whole, scores = found.whole[at], found.scores[at]
    values = scores[found.class_ids[at]] * relative(whole)
    flat = np.broadcast_to(scores[:, None, None], (len(scores), *whole.shape))
    return np.concatenate([values[None], flat]).astype(np.float32)


def _fill(band: Band, values: NDArray[np.float32], ids: NDArray[np.uint8]) -> None:
    """Put finished rows where they belong; those below the map's last are dropped."""
    rows = min(len(values), band.is_covered.shape[0])
    covered = band.is_covered[:rows]
    values[:rows] = np.where(covered, band.scores[0, :rows], np.nan)
    ids[:rows] = np.where(covered, band.scores[1:, :rows].argmax(0), IGNORE_ID)
