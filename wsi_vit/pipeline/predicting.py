"""From a registered model to class maps of slides and overlays of pictures."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pydantic import Field

from wsi_vit.cohort import CohortRow, read_cohort, tissue_beside
from wsi_vit.errors import AnnotationError, SlideError, UsageError
from wsi_vit.models.averaging import Average
from wsi_vit.pipeline.learning import device_of
from wsi_vit.pipeline.outcomes import PredictionOutcome, Progress, silent
from wsi_vit.pipeline.registering import registry_of
from wsi_vit.prediction.applied import AppliedModel, load_applied, model_digest
from wsi_vit.prediction.comparison import write_comparison
from wsi_vit.prediction.scene import predict_images
from wsi_vit.prediction.section import PredictionSection
from wsi_vit.prediction.slide import CLASS_MAP, RECORD, Prediction, predict_slide
from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.store import digest_of, file_digest


def fetch_model(reference: str, *, settings: Settings) -> Path:
    """Return the verified local folder of a model: a folder, a run, or `models:/name@alias`.

    Raises:
        RegistryError: There is none, or its bytes are not those that were registered.
        ServiceError: MLflow cannot be reached.
    """
    return registry_of(settings).resolve(reference)


class PredictionOptions(Section):
    """What somebody asks of one prediction; what is absent is as it was saved with the model."""

    mpp: float | None = None
    """Micrometres per base pixel of slides that do not say."""
    average: Average | None = None
    overlap: float | None = Field(default=None, ge=0, le=0.75)
    batch_size: int | None = Field(default=None, ge=1)

    def over(self, saved: PredictionSection) -> PredictionSection:
        """Return the saved settings with what is asked instead."""
        return saved.model_copy(update=self.model_dump(exclude={"mpp"}, exclude_none=True))


def predict(
    reference: str,
    inputs: Sequence[Path],
    *,
    out: Path,
    options: PredictionOptions | None = None,
    settings: Settings,
    progress: Progress = silent,
) -> Iterator[PredictionOutcome]:
    """Yield what becomes of slides, or of pictures where the model learnt from pictures.

    Slides are named by files, folders or cohort files. One that cannot be used is quarantined.
    Each outcome comes as soon as its files are there, in the order asked for.

    Raises:
        RegistryError: There is no such model, or it is not what was registered.
        CohortError: A cohort file has faults.
    """
    options = options or PredictionOptions()
    applied = placed(load_applied(fetch_model(reference, settings=settings)), settings)
    applied = replace(applied, section=options.over(applied.section))
    if applied.tiles is None:
        yield from _predict_pictures(applied, inputs, out=out, progress=progress)
        return
    slides = [found for path in inputs for found in slides_named(path, options.mpp)]
    refuse_one_name([slide for slide, _ in slides])
    for slide, annotations in slides:
        yield _predict_slide(applied, slide, annotations=annotations, out=out, progress=progress)


def listed_inputs(inputs: Iterable[Path], listing: BinaryIO) -> list[Path]:
    """Return the paths asked for, those of a listing in the place of `-`.

    A listing has a path a line, or, if it holds a NUL, NULs between its paths (`find -print0`). It
    is read to its end first, so that the time left can be told.

    Raises:
        UsageError: The listing is empty.
    """
    paths: list[Path] = []
    for path in inputs:
        if path != Path("-"):
            paths.append(path)
            continue
        content = listing.read()
        names = content.split(b"\0") if b"\0" in content else content.splitlines()
        paths += [Path(os.fsdecode(name)) for name in names if name]
    if not paths:
        raise UsageError(
            "No path on standard input",
            remedy="Pipe paths in, such as those of: find . -name '*.jpg' -print0",
        )
    return paths


def predict_row(model: Path, row: CohortRow, *, out: Path, settings: Settings) -> PredictionOutcome:
    """Predict one slide of a cohort with a model folder; a bad slide is quarantined."""
    applied = placed(_loaded(model, model_digest(model)), settings)
    return _predict_slide(applied, SlideInput.of(row), annotations=row.annotations, out=out)


@lru_cache(maxsize=1)
def _loaded(folder: Path, _digest: str) -> AppliedModel:
    """Keep the model between the slides of one run; changed files are another model."""
    return load_applied(folder)


def placed(applied: AppliedModel, settings: Settings) -> AppliedModel:
    """Move a model to the device that work is done on."""
    import torch

    device = torch.device(device_of(settings))
    applied.model.to(device)
    return replace(applied, device=device)


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
            progress=lambda done, total: progress(f"predicting: {slide.name}", done, total),
        )
    except SlideError as error:
        return PredictionOutcome(
            slide_id=slide.name,
            state="quarantined",
            reason=error.reason,
            message=str(error),
            source=slide.path,
        )
    folder = named_link(out, slide.name, found.folder)
    outcome = PredictionOutcome(
        slide_id=slide.name,
        state="reused" if found.reused else "predicted",
        source=slide.path,
        folder=folder,
        class_map=folder / CLASS_MAP if (folder / CLASS_MAP).is_dir() else None,
        record=folder / RECORD,
        overview=found.overview,
        shares=found.shares,
        unlike_training=found.record.anomaly and found.record.anomaly.share,
    )
    if annotations is None or outcome.class_map is None:
        return outcome
    try:
        picture = _compared(applied, found, slide, annotations, out)
    except AnnotationError as error:  # the prediction is none the worse for it
        return outcome.model_copy(update={"message": f"Predicted, but not compared. {error}"})
    return outcome.model_copy(update={"comparison": picture})


def _compared(
    applied: AppliedModel, found: Prediction, slide: SlideInput, annotations: Path, out: Path
) -> Path:
    """Draw the outlines that the cohort has of a slide beside the prediction."""
    drawn = file_digest(annotations) if annotations.is_file() else ""
    both = digest_of([found.artefact.digest, drawn])
    path = out / f"{slide.name}.comparison.{both[:16]}.png"
    if path.exists():
        return path
    return write_comparison(found, slide, annotations, applied=applied, path=path)


def named_link(out: Path, name: str, folder: Path) -> Path:
    """Point `out/name` at a result, as people look for slides, not for digests; return the way.

    It is the folder itself where something else of that name is in the way.
    """
    link = out / name
    scratch = link.with_name(f".{link.name}.{os.getpid()}")
    if link.exists() and not link.is_symlink():
        return folder
    link.parent.mkdir(parents=True, exist_ok=True)
    scratch.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
    scratch.replace(link)
    return link


def _predict_pictures(
    applied: AppliedModel, inputs: Sequence[Path], *, out: Path, progress: Progress
) -> Iterator[PredictionOutcome]:
    found = predict_images(
        applied,
        inputs,
        out=out,
        progress=lambda done, total: progress("predicting pictures", done, total),
    )
    for item in found:
        yield PredictionOutcome(
            slide_id=item.path.name,
            state="quarantined" if item.state == "refused" else item.state,
            message=item.message,
            source=item.path,
            folder=item.record.parent if item.record else None,
            class_map=item.class_map,
            record=item.record,
            overview=item.overlay,
            shares=item.shares,
        )


def refuse_one_name(slides: Sequence[SlideInput]) -> None:
    """Refuse slides of one name: results are found by it, so one would hide the other."""
    paths: dict[str, Path] = {}
    for slide in slides:
        if paths.setdefault(slide.name, slide.path) != slide.path:
            raise UsageError(
                f"Two slides are named {slide.name}",
                got=f"{paths[slide.name]} and {slide.path}",
                remedy="Rename one, predict them into two folders, or write a cohort.csv with ids",
            )


def slides_named(path: Path, mpp: float | None) -> Iterator[tuple[SlideInput, Path | None]]:
    """Yield the slides that a path names, with their outlines: itself, a folder's or a cohort's."""
    if path.suffix != ".csv" and not path.is_dir():
        yield SlideInput(path, mpp=mpp, tissue_mask=tissue_beside(path)), None
        return
    for row in read_cohort(path).rows:
        slide = SlideInput.of(row)
        yield replace(slide, mpp=slide.mpp or mpp), row.annotations
