"""What a synthetic cohort may be asked to be."""

from pydantic import Field

from wsi_vit.section import Section

CLASSES = ("tumour", "normal", "stroma", "mucus")
"""The compartments, in the order of their mask ids 1..4; 0 is glass."""

TUMOUR, NORMAL, STROMA, MUCUS = 1, 2, 3, 4

MASK_FACTOR = 4
"""Base pixels a side of one pixel of the truth's mask."""


class SyntheticSection(Section):
    """The measures of a synthetic cohort."""

    width_px: int = Field(default=4096, ge=1024, le=32768, multiple_of=16)
    height_px: int = Field(default=3072, ge=1024, le=32768, multiple_of=16)
    mpp: float = Field(default=0.5, ge=0.2, le=1.0)
    """Micrometres per base pixel; what is in the tissue keeps its size in micrometres."""
    slides_per_patient: int = Field(default=2, ge=1)
    sites: int = Field(default=3, ge=1, le=5)
    """Laboratories, each with a stain of its own."""
    pen_share: float = Field(default=0.2, ge=0.0, le=1.0)
    """Share of slides with a pen mark on the glass."""
    jpeg_quality: int = Field(default=85, ge=30, le=100)

    @property
    def px_per_um(self) -> float:
        """Base pixels in a micrometre."""
        return 1.0 / self.mpp
