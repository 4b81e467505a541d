"""A slide to be worked on, with what its cohort knows of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wsi_vit.cohort import CohortRow


@dataclass(frozen=True, slots=True)
class SlideInput:
    """A slide file, and what somebody said about it."""

    path: Path
    slide_id: str | None = None
    """None: the file's stem."""
    mpp: float | None = None
    """Micrometres per base pixel; wins over what the file says."""
    tissue_mask: Path | None = None
    """Outlines of its tissue, see `tissue_outlines`; they win over the mask that is found."""

    @classmethod
    def of(cls, row: CohortRow) -> Self:
        """Return the slide of a cohort's row."""
        return cls(row.slide, slide_id=row.slide_id, mpp=row.mpp, tissue_mask=row.tissue_mask)

    @property
    def name(self) -> str:
        """What the slide is called in the results."""
        return self.path.stem if self.slide_id is None else self.slide_id
