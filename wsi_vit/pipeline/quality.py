"""What is to be known of a cohort's slides before anything is learnt from them.

A table with a row a slide, and a contact sheet: those that somebody should look at come first.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsi_vit.cohort import read_cohort, tissue_beside
from wsi_vit.datasets.sources import CohortSource
from wsi_vit.errors import Reason, SlideError, UsageError
from wsi_vit.pipeline.outcomes import Progress, SlideOutcome, silent
from wsi_vit.recipe import Recipe
from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.slides.quality.card import CARD, draw_card, write_card
from wsi_vit.slides.quality.report import SlideQuality, judge
from wsi_vit.slides.quality.survey import survey_slide
from wsi_vit.slides.resolution import ResolutionSection
from wsi_vit.slides.slide import open_slide
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tissue.mask import TissueSection
from wsi_vit.store import read_manifest, write_whole

_FAR = 3.5
"""Robust z-score from which a value is an outlier (Iglewicz & Hoaglin 1993)."""
_LEAST_SLIDES = 8
"""Fewer slides say nothing about what is usual."""
_LEAST_SPREAD = 0.03
"""Optical density: stains that differ by less than a few of this are alike."""


class SlideVerdict(Section):
    """What is known of one slide's quality."""

    slide_id: str
    quality: SlideQuality | None = None
    """None where the slide cannot be used."""
    reason: Reason | None = None
    message: str = ""
    """For a slide that cannot be used: why, and what to do."""
    suspicions: tuple[str, ...] = ()
    card: Path | None = None
    """A small picture of it."""

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table for people."""
        found = self.quality
        if found is None:
            blank = dict.fromkeys(("tissue mm²", "out of focus", "dense", "ink mm²", "H", "E"), "")
            return {"slide": self.slide_id, **blank, "µm/px": "", "look, because": self.message}
        stain = found.stain
        return {
            "slide": self.slide_id,
            "tissue mm²": f"{found.tissue_mm2:.2f}",
            "out of focus": "" if found.blur_share is None else f"{found.blur_share:.1%}",
            "dense": f"{found.dark_share:.1%}",
            "ink mm²": f"{found.pen_mm2:.2f}",
            "H": f"{stain.haematoxylin:.2f}" if stain else "",
            "E": f"{stain.eosin:.2f}" if stain else "",
            "µm/px": f"{found.mpp:.4g} ({found.mpp_source})",
            "look, because": "; ".join(self.suspicions),
        }


class SurveySection(Section):
    """How slides are surveyed where no recipe says it."""

    tissue: TissueSection = TissueSection()
    resolution: ResolutionSection = ResolutionSection()


class QualityReport(Section):
    """The slides of a cohort, those to be looked at first."""

    slides: tuple[SlideVerdict, ...]
    table: Path
    sheets: tuple[Path, ...]
    """Pages of the contact sheet; of a single slide its card alone."""

    @property
    def lost(self) -> list[str]:
        """The slides that cannot be used."""
        return [item.slide_id for item in self.slides if item.reason]


def surveyed_as(recipe: Recipe) -> SurveySection:
    """Return how a recipe surveys its slides; by default where it reads pictures."""
    source = recipe.source
    if not isinstance(source, CohortSource):
        return SurveySection()
    return SurveySection(tissue=source.tiles.tissue, resolution=source.tiles.resolution)


def check_quality(
    inputs: Sequence[Path],
    *,
    section: SurveySection,
    out: Path,
    progress: Progress = silent,
) -> QualityReport:
    """Survey slides, named by files, folders or cohort files; write table and contact sheet.

    Raises:
        CohortError: A cohort file has faults.
        UsageError: Nothing is named.
    """
    slides = [found for path in inputs for found in _slides(path)]
    if not slides:
        raise UsageError("No slide is named", remedy="Name slides, a folder, or a cohort.csv")
    verdicts: list[SlideVerdict] = []
    for index, given in enumerate(slides):
        progress(f"surveying: {given.name}", index, len(slides))
        verdicts.append(_surveyed(given, section, out / "cards"))
    progress("surveying", len(slides), len(slides))
    return write_quality(verdicts, out, title="Quality")


def tiled_quality(
    recipe: Recipe, outcomes: Sequence[SlideOutcome], *, settings: Settings
) -> QualityReport:
    """Write table and contact sheet of what was tiled, as tiling found it; no slide is opened.

    They go to `quality/<recipe>` beside the runs.
    """
    out = settings.runs / "quality" / recipe.name
    return write_quality([_tiled(item) for item in outcomes], out, title=f"Slides of {recipe.name}")


def write_quality(verdicts: Sequence[SlideVerdict], out: Path, *, title: str) -> QualityReport:
    """Write `quality.csv` and `contact-sheet-NN.png`: what to look at first, then as they came."""
    judged = [_beside_others(item, verdicts) for item in verdicts]
    ranked = sorted(judged, key=lambda item: (item.reason is None, -len(item.suspicions)))
    out.mkdir(parents=True, exist_ok=True)
    table = out / "quality.csv"
    with write_whole(table) as scratch:
        _write_table(scratch, ranked)
    sheets = _sheets(ranked, out, title)
    return QualityReport(slides=tuple(ranked), table=table, sheets=tuple(sheets))


def _sheets(verdicts: Sequence[SlideVerdict], out: Path, title: str) -> list[Path]:
    """Draw the contact sheet in place of an older one; of a single slide return its card."""
    for stale in out.glob("contact-sheet-*.png"):
        stale.unlink()
    if len(verdicts) == 1:
        return [item.card for item in verdicts if item.card]
    # Imported here: who tiles one slide need not wait for what draws pages.
    from wsi_vit.pipeline.contact_sheet import Card, draw_sheets

    cards = [
        Card(
            item.slide_id,
            item.quality,
            item.card,
            (item.message,) if item.reason else item.suspicions,
        )
        for item in verdicts
    ]
    return draw_sheets(cards, out, title=title)


def _slides(path: Path) -> Iterator[SlideInput]:
    """Yield the slides that a path names: itself, a folder's or a cohort's."""
    if path.suffix == ".csv" or path.is_dir():
        yield from (SlideInput.of(row) for row in read_cohort(path).rows)
    else:
        yield SlideInput(path, tissue_mask=tissue_beside(path))


def _surveyed(given: SlideInput, section: SurveySection, cards: Path) -> SlideVerdict:
    """Survey one slide; one that cannot be used is a finding."""
    try:
        with open_slide(given.path, mpp=given.mpp, resolution=section.resolution) as slide:
            survey = survey_slide(slide, section.tissue, tissue_mask=given.tissue_mask)
            quality = judge(survey, slide, given)
    except SlideError as error:
        return SlideVerdict(slide_id=given.name, reason=error.reason, message=str(error))
    cards.mkdir(parents=True, exist_ok=True)
    card = cards / f"{given.name}.png"
    with write_whole(card) as scratch:
        write_card(scratch, draw_card(survey))
    return _verdict(quality, card)


def _tiled(item: SlideOutcome) -> SlideVerdict:
    if item.tiles_folder is None:
        return SlideVerdict(slide_id=item.slide_id, reason=item.reason, message=item.message)
    found = read_manifest(item.tiles_folder).facts["quality"]
    return _verdict(SlideQuality.model_validate(found), item.tiles_folder / CARD)


def _verdict(quality: SlideQuality, card: Path) -> SlideVerdict:
    return SlideVerdict(
        slide_id=quality.slide_id, quality=quality, suspicions=quality.suspicions, card=card
    )


def _beside_others(verdict: SlideVerdict, all_of_them: Sequence[SlideVerdict]) -> SlideVerdict:
    """Add what is unusual about a slide's stain among the cohort's."""
    stain = verdict.quality and verdict.quality.stain
    if not stain:
        return verdict
    stains = [item.quality.stain for item in all_of_them if item.quality and item.quality.stain]
    odd = [
        f"{name} {getattr(stain, name):.2f}, the others {middle:.2f}"
        for name in ("haematoxylin", "eosin")
        if (middle := _unlike(getattr(stain, name), [getattr(item, name) for item in stains]))
    ]
    return verdict.model_copy(update={"suspicions": (*verdict.suspicions, *odd)})


def _unlike(value: float, values: Sequence[float]) -> float | None:
    """Return the median of values where one of them lies far from it, else None.

    The robust z-score of Iglewicz & Hoaglin (1993): 0.6745 (x - median) / median deviation.
    """
    if len(values) < _LEAST_SLIDES:
        return None
    middle = float(np.median(values))
    spread = max(float(np.median(np.abs(np.array(values) - middle))), _LEAST_SPREAD)
    return middle if 0.6745 * abs(value - middle) / spread > _FAR else None


def _write_table(path: Path, verdicts: Sequence[SlideVerdict]) -> None:
    """Write all figures, a row a slide; what is not known is an empty cell."""
    rows = [_flat(item) for item in verdicts]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _flat(verdict: SlideVerdict) -> dict[str, Any]:
    known = verdict.quality.row() if verdict.quality else {}
    told = {"suspicions": "; ".join(verdict.suspicions), "reason": verdict.reason or ""}
    return {"slide_id": verdict.slide_id} | known | told | {"message": verdict.message}
