"""From a registered model to class maps of slides and overlays of pictures."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from wsi_vit.cohort import CohortRow, read_cohort
from wsi_vit.errors import SlideError
from wsi_vit.pipeline.outcomes import PredictionOutcome, Progress, silent
from wsi_vit.pipeline.registering import registry_of
from wsi_vit.prediction.applied import AppliedModel, load_applied, model_digest
from wsi_vit.prediction.comparison import write_comparison
from wsi_vit.prediction.scene import predict_images
from wsi_vit.prediction.slide import Prediction, SlideInput, predict_slide
from wsi_vit.settings import Settings


def fetch_model(reference: str, *, settings: Settings) -> Path:
    """Return the verified local folder of a model: a folder, a run, or `models:/name@alias`.

    Raises:
        RegistryError: There is none, or its bytes are not those that were registered.
        ServiceError: MLflow cannot be reached.
    """
    return registry_of(settings).resolve(reference)


def predict(
    reference: str,
    inputs: Sequence[Path],
    *,
    mpp: float | None = None,
    out: Path,
    settings: Settings,
    progress: Progress = silent,
) -> list[PredictionOutcome]:
    """Predict slides, or pictures where the model learnt from pictures.

    Slides are named by files, folders or cohort files. One that cannot be used is quarantined.

    Raises:
        RegistryError: There is no such model, or it is not what was registered.
        CohortError: A cohort file has faults.
    """
    applied = load_applied(fetch_model(reference, settings=settings))
    if applied.tiles is None:
        return _predict_pictures(applied, inputs, out=out, progress=progress)
    return [
        _predict_slide(applied, slide, annotations=annotations, out=out, progress=progress)
        for path in inputs
        for slide, annotations in _slides(path, mpp)
    ]


def predict_row(model: Path, row: CohortRow, *, out: Path) -> PredictionOutcome:
    """Predict one slide of a cohort with a model folder; a bad slide is quarantined."""
    applied = _loaded(model, model_digest(model))
    return _predict_slide(applied, _input(row), annotations=row.annotations, out=out)


@lru_cache(maxsize=1)
def _loaded(folder: Path, _digest: str) -> AppliedModel:
    """Keep the model between the slides of one run; changed files are another model."""
    return load_applied(folder)


def _predict_slide(
    applied: AppliedModel,
    slide: SlideInput,
    *,
    annotations: Path | None,
    out: Path,
    progress: Progress = silent,
) -> PredictionOutcome:
    try:
        found = predict_slide(
            applied,
            slide,
            out=out,
            progress=lambda done, total: progress(f"predicting {slide.name}", done, total),
        )
    except SlideError as error:
        return PredictionOutcome(
            slide_id=slide.name, state="quarantined", reason=error.reason, message=str(error)
        )
    return PredictionOutcome(
        slide_id=slide.name,
        state="reused" if found.reused else "predicted",
        folder=_named_link(out, slide.name, found.folder),
        overview=found.overview,
        comparison=_compared(applied, found, slide, annotations, out),
        shares=found.shares,
    )


def _compared(
    applied: AppliedModel,
    found: Prediction,
    slide: SlideInput,
    annotations: Path | None,
    out: Path,
) -> Path | None:
    """Where the cohort has outlines of a slide, draw them beside the prediction."""
    if annotations is None:
        return None
    path = out / f"{slide.name}.comparison.{found.artefact.manifest.key[:16]}.png"
    if path.exists():
        return path
    return write_comparison(found, slide, annotations, labels=applied.model.labels, path=path)


def _named_link(out: Path, name: str, folder: Path) -> Path:
    """Point `out/<slide>` at its newest prediction, as people look for slides, not for digests."""
    link, scratch = out / name, out / f".{name}.{os.getpid()}"
    if link.exists() and not link.is_symlink():
        return folder
    scratch.symlink_to(folder.relative_to(out), target_is_directory=True)
    scratch.replace(link)
    return link


def _predict_pictures(
    applied: AppliedModel, inputs: Sequence[Path], *, out: Path, progress: Progress
) -> list[PredictionOutcome]:
    found = predict_images(
        applied,
        inputs,
        out=out,
        progress=lambda done, total: progress("predicting pictures", done, total),
    )
    return [
        PredictionOutcome(
            slide_id=item.path.name,
            state="quarantined" if item.state == "refused" else item.state,
            message=item.message,
            folder=item.record,
            overview=item.overlay,
            shares=item.shares,
        )
        for item in found
    ]


def _slides(path: Path, mpp: float | None) -> Iterator[tuple[SlideInput, Path | None]]:
    """Yield the slides that a path names, with their outlines: itself, a folder's or a cohort's."""
    if path.suffix != ".csv" and not path.is_dir():
        yield SlideInput(path, mpp=mpp), None
        return
    for row in read_cohort(path).rows:
        slide = _input(row)
        yield replace(slide, mpp=slide.mpp or mpp), row.annotations


def _input(row: CohortRow) -> SlideInput:
    return SlideInput(row.slide, slide_id=row.slide_id, mpp=row.mpp)
