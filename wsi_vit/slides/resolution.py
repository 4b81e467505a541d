"""How many micrometres a base pixel measures, and who says so.

Never a magnification: a slide of 0.325 µm/px is a slide of 0.325 µm/px. The first source that gives
a believable value wins, in the order override, vendor, TIFF tags, OME-XML, DICOM, and is recorded.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Mpp
from wsi_vit.section import Section

ResolutionSource = Literal["override", "vendor", "tiff", "ome", "dicom", "assumed", "none"]
"""Who said what the resolution is."""

_FILL_IN = "Fill the mpp column of the cohort with the scanner's micrometres per pixel"
_log = logging.getLogger(__name__)


class AssumedMpp(Section):
    """A resolution to take on trust where a slide states none that can be believed."""

    assume: float = Field(gt=0, allow_inf_nan=False)
    """Micrometres per base pixel."""


class ResolutionSection(Section):
    """What a believable resolution is, and what to do without one."""

    missing: Annotated[
        Literal["refuse", "warn"] | AssumedMpp, Field(union_mode="left_to_right")
    ] = "refuse"
    """`refuse` quarantines the slide, `warn` goes on with what there is, `assume` states it."""
    smallest: float = Field(default=0.05, gt=0)
    """Micrometres per pixel below which nothing is believed."""
    largest: float = Field(default=10.0, gt=0)
    """Micrometres per pixel above which nothing is believed."""
    anisotropy: float = Field(default=0.01, ge=0, lt=1)
    """Largest share by which x and y may differ: pixels are taken to be square."""


@dataclass(frozen=True, slots=True)
class StatedMpp:
    """What one source says, in micrometres per base pixel, believable or not."""

    mpp_x: float
    mpp_y: float
    source: ResolutionSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Micrometres per base pixel, with the source that won."""

    mpp_x: float
    """NaN where nothing is known and the section says `warn`."""
    mpp_y: float
    source: ResolutionSource
    stated: StatedMpp | None = None
    """The first thing the file itself says, kept beside an override."""

    @property
    def mpp(self) -> Mpp:
        """The geometric mean of x and y: the area of a pixel is what it should be."""
        return Mpp(math.sqrt(self.mpp_x * self.mpp_y))

    @property
    def is_known(self) -> bool:
        """Whether there is a value at all."""
        return self.source != "none"


def resolve_mpp(
    stated: Sequence[StatedMpp], *, override: float | None, section: ResolutionSection, slide: str
) -> Resolution:
    """Choose the resolution of a slide.

    Args:
        stated: What the file says, best source first.
        override: The cohort's own value; it wins over everything the file says.
        section: What is believable, and what to do without.
        slide: Names the slide in errors.

    Raises:
        SlideError: NO_MPP, ABSURD_MPP or ANISOTROPIC_MPP, with the remedy.
    """
    said = stated[0] if stated else None
    if override is not None:
        claim = StatedMpp(override, override, "override")
        fault = _fault(claim, section)
        if fault:
            raise _refused(fault, claim, section, slide)
        return Resolution(mpp_x=override, mpp_y=override, source="override", stated=said)
    for claim in stated:
        if _fault(claim, section) is None:
            return _taken(claim, said)
    return _without(said, section, slide)


def _without(said: StatedMpp | None, section: ResolutionSection, slide: str) -> Resolution:
    """Decide where no source can be believed."""
    if isinstance(section.missing, AssumedMpp):
        value = section.missing.assume
        claim = StatedMpp(value, value, "assumed")
        if _fault(claim, section):  # a magnification, most likely
            raise _refused(Reason.ABSURD_MPP, claim, section, slide)
        return Resolution(mpp_x=value, mpp_y=value, source="assumed", stated=said)
    fault = Reason.NO_MPP if said is None else (_fault(said, section) or Reason.ABSURD_MPP)
    if section.missing == "refuse":
        raise _refused(fault, said, section, slide)
    _log.warning("%s: resolution is %s; going on as the recipe asks", slide, fault)
    if said is None or not _is_number(said):
        return Resolution(mpp_x=math.nan, mpp_y=math.nan, source="none", stated=said)
    return _taken(said, said)


def _taken(claim: StatedMpp, said: StatedMpp | None) -> Resolution:
    return Resolution(mpp_x=claim.mpp_x, mpp_y=claim.mpp_y, source=claim.source, stated=said)


def _is_number(claim: StatedMpp) -> bool:
    return all(math.isfinite(value) and value > 0 for value in (claim.mpp_x, claim.mpp_y))


def _fault(claim: StatedMpp, section: ResolutionSection) -> Reason | None:
    """Name what is wrong with a claim, None where it can be believed."""
    low, high = sorted((claim.mpp_x, claim.mpp_y))
    if not _is_number(claim) or low < section.smallest or high > section.largest:
        return Reason.ABSURD_MPP
    return Reason.ANISOTROPIC_MPP if high > low * (1 + section.anisotropy) else None


def _refused(
    reason: Reason, claim: StatedMpp | None, section: ResolutionSection, slide: str
) -> SlideError:
    if claim is None:
        return SlideError(
            reason,
            "The file does not say how many micrometres a pixel measures",
            got=slide,
            remedy=f"{_FILL_IN}, or set resolution.missing: {{assume: ...}} in the recipe",
        )
    what = f"{claim.mpp_x:g} x {claim.mpp_y:g} µm/px by {claim.source} in {slide}"
    if reason is Reason.ANISOTROPIC_MPP:
        return SlideError(
            reason,
            f"Pixels are not square: x and y differ by more than {section.anisotropy:.0%}",
            got=what,
            remedy=f"{_FILL_IN} if the file is wrong, else resample the slide to square pixels",
        )
    return SlideError(
        reason,
        f"Resolution outside {section.smallest:g}-{section.largest:g} µm/px cannot be right",
        got=what,
        remedy=_FILL_IN,
    )
