"""From a cohort to a dataset: one slide at a time, a bad one set aside with its reason."""

from collections.abc import Sequence
from pathlib import Path

from wsi_vit.cohort import Cohort, CohortRow, read_cohort
from wsi_vit.datasets.build import SlideShards, build_from_images, build_from_shards
from wsi_vit.datasets.sources import CohortSource
from wsi_vit.errors import AnnotationError, CohortError, DatasetError, Reason, SlideError
from wsi_vit.pipeline.outcomes import Progress, SlideOutcome, silent
from wsi_vit.recipe import Recipe
from wsi_vit.settings import Settings
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.stain.section import MacenkoStain
from wsi_vit.slides.stain.stage import stain_slide
from wsi_vit.slides.tile_labels import label_tiles
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Artefact, Store, read_manifest


def cohort_of(recipe: Recipe) -> Cohort:
    """Read the cohort that a recipe names.

    Raises:
        CohortError: It names none, or the file has faults; all of them are listed.
    """
    if not isinstance(recipe.source, CohortSource):
        raise CohortError(
            "This recipe reads images, not a cohort of slides",
            got=recipe.name,
            remedy="Use `wsi-vit dataset` or `wsi-vit run` with it",
        )
    if recipe.source.cohort is None:
        raise CohortError("No cohort is named", got=recipe.name, remedy="Give --cohort cohort.csv")
    return read_cohort(recipe.source.cohort)


def tile_cohort(
    recipe: Recipe, *, settings: Settings, progress: Progress = silent
) -> list[SlideOutcome]:
    """Tile every slide of a recipe's cohort; a source of images has none."""
    if not isinstance(recipe.source, CohortSource):
        return []
    rows = cohort_of(recipe).rows
    outcomes: list[SlideOutcome] = []
    for index, row in enumerate(rows):
        progress(f"tiling slides: {row.slide_id}", index, len(rows))
        outcomes.append(tile_row(row, recipe=recipe, settings=settings))
    progress("tiling slides", len(rows), len(rows))
    return outcomes


def tile_row(row: CohortRow, *, recipe: Recipe, settings: Settings) -> SlideOutcome:
    """Cut one slide into tiles and label them; a slide that cannot be used is quarantined."""
    source, store = recipe.source, Store(settings.store_root)
    assert isinstance(source, CohortSource)
    try:
        tiles = tile_slide(SlideInput.of(row), section=source.tiles, store=store)
        labels = _labelled(row, tiles, recipe=recipe, store=store)
        stain = _stained(row, source, store=store)
    except SlideError as error:
        return _quarantined(row, error.reason, error)
    except AnnotationError as error:
        return _quarantined(row, Reason.BAD_ANNOTATIONS, error)
    reused = all(item is None or item.reused for item in (tiles, labels, stain))
    return SlideOutcome(
        slide_id=row.slide_id,
        state="reused" if reused else "tiled",
        tiles=tiles.facts["tiles"],
        tiles_folder=tiles.folder,
        labels_folder=labels.folder if labels else None,
        stain_folder=stain.folder if stain else None,
    )


def build(recipe: Recipe, outcomes: Sequence[SlideOutcome], *, settings: Settings) -> Artefact:
    """Join what was tiled, or read the source of images, into one dataset with frozen splits.

    Raises:
        DatasetError: No slide is left, or the data do not allow the split that is asked for.
    """
    store, source = Store(settings.store_root), recipe.source
    if not isinstance(source, CohortSource):
        return build_from_images(
            source,
            labels=recipe.labels,
            task=recipe.task,
            split=recipe.split,
            name=recipe.name,
            store=store,
        )
    rows = {row.slide_id: row for row in cohort_of(recipe).rows}
    shards = [_shards(rows[item.slide_id], item) for item in outcomes if item.tiles_folder]
    if not shards:
        raise DatasetError(
            "Every slide is quarantined",
            got="; ".join(f"{item.slide_id}: {item.message}" for item in outcomes[:5]),
            remedy="Mend the slides or the cohort file, then run it again",
        )
    return build_from_shards(
        shards,
        labels=recipe.labels,
        task=recipe.task,
        split=recipe.split,
        name=recipe.name,
        store=store,
    )


def _labelled(row: CohortRow, tiles: Artefact, *, recipe: Recipe, store: Store) -> Artefact | None:
    assert isinstance(recipe.source, CohortSource)
    task = recipe.task
    if row.annotations is None or task == "pretraining":
        return None
    return label_tiles(
        tiles,
        row.annotations,
        labels=recipe.labels,
        task=task,
        section=recipe.source.labelling,
        store=store,
    )


def _stained(row: CohortRow, source: CohortSource, *, store: Store) -> Artefact | None:
    if not isinstance(source.stain, MacenkoStain):
        return None
    return stain_slide(
        row.slide, mpp=row.mpp, section=source.stain, tiles=source.tiles, store=store
    )


def _shards(row: CohortRow, outcome: SlideOutcome) -> SlideShards:
    assert outcome.tiles_folder
    return SlideShards(
        row=row,
        tiles=_artefact(outcome.tiles_folder),
        tile_labels=_artefact(outcome.labels_folder) if outcome.labels_folder else None,
        stain=_artefact(outcome.stain_folder) if outcome.stain_folder else None,
    )


def _artefact(folder: Path) -> Artefact:
    return Artefact(folder=folder, manifest=read_manifest(folder), reused=True)


def _quarantined(row: CohortRow, reason: Reason, error: Exception) -> SlideOutcome:
    return SlideOutcome(
        slide_id=row.slide_id, state="quarantined", reason=reason, message=str(error)
    )
