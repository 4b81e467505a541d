"""What is said of a slide as a whole: one row of the cohort's quality table."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from wsi_vit.section import Section
from wsi_vit.slides.quality.blur import BLURRED
from wsi_vit.slides.quality.marks import PenColour, StainFacts, pen_colour, stain_of
from wsi_vit.slides.quality.survey import Survey
from wsi_vit.slides.read_path import ReadPath
from wsi_vit.slides.resolution import ResolutionSource
from wsi_vit.slides.slide import Slide
from wsi_vit.slides.slide_input import SlideInput

_MUCH_BLUR, _MUCH_DARK = 0.1, 0.02
"""Shares of the tissue from which a slide is suspected."""
_PEN_MM2 = 0.02
"""Area of ink from which a slide is suspected: a dot of 160 µm."""
_LITTLE_MM2 = 0.1
"""Less tissue than this is hardly any."""
_PALE = 0.08
"""Mean optical density of tissue that is hardly stained."""
_UM2_A_MM2 = 1e6


class SlideQuality(Section):
    """Coverage, focus, ink, folds and stain of one slide."""

    slide_id: str
    tissue_mm2: float
    tissue_share: float
    """Of the plane."""
    tissue_from: Literal["found", "outlined"]
    """Whether the tissue is what was found, or what somebody outlined."""
    blur: float | None
    """Median over the tissue, see `blur`; None where the slide is too coarse to measure it."""
    blur_share: float | None
    """Share of the tissue that is out of focus."""
    blur_mpp: float
    """Micrometres per pixel at which blur is measured."""
    dark_share: float
    """Share of the tissue in folds, or otherwise about twice as dense as the rest."""
    pen_mm2: float
    pen_share: float
    """Of the plane."""
    pen_colour: PenColour | None
    unreadable_share: float
    """Of the plane; what is there is not known."""
    stain: StainFacts | None
    mpp: float
    mpp_source: ResolutionSource
    reader: str
    path: ReadPath | None = None
    """How its tiles are got; None where none were planned."""

    @property
    def suspicions(self) -> tuple[str, ...]:
        """What speaks against the slide, in words; empty where nothing does."""
        return tuple(self._suspicions())

    def _suspicions(self) -> Iterator[str]:
        if self.tissue_mm2 < _LITTLE_MM2:
            yield f"hardly any tissue: {self.tissue_mm2:.2f} mm²"
        if self.pen_colour and self.pen_mm2 >= _PEN_MM2:
            yield f"{self.pen_colour} ink on {self.pen_mm2:.2g} mm²"
        if (self.blur_share or 0) >= _MUCH_BLUR:
            yield f"{self.blur_share:.0%} of the tissue out of focus"
        if self.dark_share >= _MUCH_DARK:
            yield f"{self.dark_share:.0%} of the tissue folded or very dense"
        if self.unreadable_share:
            yield f"{self.unreadable_share:.1%} of the slide cannot be read"
        if self.stain and float(np.mean(self.stain.mean_od)) < _PALE:
            yield "hardly stained"

    def row(self) -> dict[str, Any]:
        """Return it as a row of a flat table."""
        flat = self.model_dump(mode="json", exclude={"stain", "path"})
        stain = self.stain
        for index, colour in enumerate(("red", "green", "blue")):
            flat[f"od_{colour}"] = stain.mean_od[index] if stain else None
            flat[f"od_{colour}_sd"] = stain.sd_od[index] if stain else None
        flat["haematoxylin"] = stain.haematoxylin if stain else None
        flat["eosin"] = stain.eosin if stain else None
        flat["read_path"] = self.path.kind if self.path else None
        return flat


def judge(
    survey: Survey, slide: Slide, given: SlideInput, *, path: ReadPath | None = None
) -> SlideQuality:
    """Sum up what a survey found."""
    mask, pixels, glass = survey.mask, survey.overview.pixels, survey.glass
    cell_mm2 = survey.cell_um**2 / _UM2_A_MM2
    tissue = int(mask.is_tissue.sum())
    blur, blur_share = _focus(survey)
    return SlideQuality(
        slide_id=given.name,
        tissue_mm2=round(tissue * cell_mm2, 4),
        tissue_share=round(mask.tissue_share, 6),
        tissue_from="outlined" if given.tissue_mask else "found",
        blur=blur,
        blur_share=blur_share,
        blur_mpp=round(survey.blur_mpp, 4),
        dark_share=round(float((survey.marks.is_dark & mask.is_tissue).sum()) / max(tissue, 1), 6),
        pen_mm2=round(float(mask.is_pen.sum()) * cell_mm2, 4),
        pen_share=round(float(mask.is_pen.mean()), 6),
        pen_colour=pen_colour(pixels, glass, mask.is_pen),
        unreadable_share=round(float(mask.is_unreadable.mean()), 6),
        stain=stain_of(pixels, glass, mask.is_tissue),
        mpp=float(slide.mpp),
        mpp_source=slide.resolution.source,
        reader=slide.reader,
        path=path,
    )


def _focus(survey: Survey) -> tuple[float | None, float | None]:
    """Return the median blur over blocks of tissue, and the share of them that is out of focus."""
    blur, is_tissue = survey.blur_blocks()
    values = blur[is_tissue & ~np.isnan(blur)]
    if not len(values):
        return None, None
    return round(float(np.median(values)), 4), round(float((values >= BLURRED).mean()), 6)
