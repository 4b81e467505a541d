"""From a model to maps of what it looked at in slides and pictures."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import Field

from wsi_vit.errors import SlideError
from wsi_vit.explanation.artefacts import Explanation
from wsi_vit.explanation.maps import Explainer
from wsi_vit.explanation.picture import explain_picture
from wsi_vit.explanation.record import RECORD, PictureExplanation, SlideExplanation
from wsi_vit.explanation.section import ExplanationSection, FaithfulnessSection, Fusion, Method
from wsi_vit.explanation.slide import explain_slide
from wsi_vit.pipeline.outcomes import ExplanationOutcome, Progress, silent
from wsi_vit.pipeline.predicting import (
    fetch_model,
    named_link,
    placed,
    refuse_one_name,
    slides_named,
)
from wsi_vit.prediction.applied import load_applied
from wsi_vit.prediction.pictures import find_images
from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.slides.slide_input import SlideInput

_PLAIN = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""No slide is called so: given to a model of slides, it is a tile. A TIFF may be either, and is
taken for a slide."""

_LINKED = ".explanation"
"""How the names of results end, so that those of a prediction beside them stay."""


class ExplanationOptions(Section):
    """What somebody asks of one explanation."""

    method: Method | None = None
    class_name: str | None = None
    fusion: Fusion = "mean"
    discard: float = Field(default=0.0, ge=0, lt=1)
    mpp: float | None = None
    """Micrometres per base pixel of slides that do not say, and per pixel of pictures."""
    overlap: float | None = Field(default=None, ge=0, le=0.75)
    test: FaithfulnessSection | None = None

    def section(self) -> ExplanationSection:
        """Return the settings with what is asked."""
        asked = self.model_dump(exclude={"mpp", "test"}, exclude_none=True)
        return ExplanationSection(**asked, faithfulness=self.test)


def explain(
    reference: str,
    inputs: Sequence[Path],
    *,
    out: Path,
    options: ExplanationOptions | None = None,
    settings: Settings,
    progress: Progress = silent,
) -> Iterator[ExplanationOutcome]:
    """Yield what becomes of slides and pictures, in the order asked for.

    With a model that was trained on slides, files whose name says that they are plain pictures are
    tiles, and all else are slides, folders of slides or cohort files. What cannot be used is named,
    and the others go on.

    Raises:
        RegistryError: There is no such model, or it is not what was registered.
        ModelError: The model cannot be explained in this way; the message says in which.
        UsageError: It does not know the class.
        CohortError: A cohort file has faults.
    """
    options = options or ExplanationOptions()
    applied = placed(load_applied(fetch_model(reference, settings=settings)), settings)
    explainer = Explainer(applied, options.section())
    plain = [path for path in inputs if applied.tiles is None or path.suffix.lower() in _PLAIN]
    found = list(find_images(plain)) if plain else []
    for done, (name, path) in enumerate(found):
        progress(f"explaining pictures: {name}", done, len(found))
        yield _picture(explainer, name, path, out=out, mpp=options.mpp, progress=progress)
        progress(f"explaining pictures: {name}", done + 1, len(found))
    others = [path for path in inputs if path not in plain]
    slides = [slide for path in others for slide, _ in slides_named(path, options.mpp)]
    refuse_one_name(slides)
    for slide in slides:
        yield _slide(explainer, slide, out=out, progress=progress)


def _picture(
    explainer: Explainer,
    name: str,
    path: Path,
    *,
    out: Path,
    mpp: float | None,
    progress: Progress,
) -> ExplanationOutcome:
    try:
        path.name.encode()
        told = _told(progress, name)
        found = explain_picture(explainer, path, out=out, mpp=mpp, progress=told)
    except ValueError as error:
        why = f"{path.name!r:.200} cannot be used ({error}). Mend it, or leave it out."
        return ExplanationOutcome(slide_id=path.name, state="quarantined", message=why, source=path)
    return _outcome(found, path.name, path, named_link(out, f"{name}{_LINKED}", found.folder))


def _slide(
    explainer: Explainer, slide: SlideInput, *, out: Path, progress: Progress
) -> ExplanationOutcome:
    try:
        found = explain_slide(explainer, slide, out=out, progress=_told(progress, slide.name))
    except SlideError as error:
        return ExplanationOutcome(
            slide_id=slide.name,
            state="quarantined",
            reason=error.reason,
            message=str(error),
            source=slide.path,
        )
    return _outcome(
        found, slide.name, slide.path, named_link(out, f"{slide.name}{_LINKED}", found.folder)
    )


def _told(progress: Progress, name: str) -> Callable[[str, int, int], None]:
    """Return a listener that names what is worked on."""
    return lambda what, done, total: progress(f"{what}: {name}", done, total)


def _outcome(
    found: Explanation[PictureExplanation] | Explanation[SlideExplanation],
    name: str,
    source: Path,
    folder: Path,
) -> ExplanationOutcome:
    return ExplanationOutcome(
        slide_id=name,
        state="reused" if found.reused else "explained",
        source=source,
        folder=folder,
        figure=folder / found.figure.name,
        map=folder / found.map.name,
        record=folder / RECORD,
        method=found.record.method,
        explained_class=found.record.explained_class,
        scores={item.name: item.score for item in found.record.classes},
    )
