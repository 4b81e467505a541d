"""What the readers of annotation files hand on: outlines with the names they carry."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import AnnotationError
from wsi_vit.geometry import Region

UNNAMED = "unnamed"
"""The name of an outline that carries none; a class gathers such outlines by this source."""

CARVING = ("ignore*", "ignore", "exclusion")
"""Names whose area is taken out of every annotation, unless a class gathers them."""

_FARTHEST = 1e9
"""No position of a slide is farther from its corner; areas of larger ones would overflow."""

Ring = NDArray[np.float64]
"""Corners in base pixels, shape (n, 2) as x, y; the last need not repeat the first."""


class Annotations(Protocol):
    """What is known of a slide's areas, from outlines or from a label image."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be repaired, left out or cut off: counted, one sentence each."""
        ...

    def coverage(self, regions: Sequence[Region]) -> NDArray[np.float64]:
        """Return the exact share of each region covered by each class, shape (n, classes)."""
        ...

    def mask(
        self, region: Region, *, width_px: int, height_px: int, other: int
    ) -> NDArray[np.uint8]:
        """Return the training id at each pixel's centre, shape (height_px, width_px).

        Pixels outside every annotation are `other`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Shape:
    """One polygon as it was drawn."""

    names: tuple[str, ...]
    """Names it may be known by, the most specific first; never empty."""
    rings: tuple[Ring, ...]
    """The outline, then its holes."""
    layer: int = 0
    """Shapes that are holes cut only shapes of their own layer."""
    is_hole: bool = False


@dataclass(slots=True)
class Drawing:
    """Everything one file holds."""

    shapes: list[Shape] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """Kinds of things that have no area, with their counts."""


def ring_of(corners: object) -> Ring:
    """Return the corners of one ring; a third value a corner (z) is left out.

    Raises:
        AnnotationError: They are no list of positions, or a position is not finite, or
            beyond any slide.
    """
    try:
        ring = np.asarray(corners, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        ring = np.empty(0)
    if ring.ndim != 2 or ring.shape[-1] < 2:
        raise AnnotationError(
            "A ring is no list of [x, y] positions",
            got=str(corners)[:80],
            remedy="Export the annotations again",
        )
    if not np.abs(ring[:, :2]).max(initial=0.0) < _FARTHEST:  # so that NaN is far, too
        near = (np.abs(ring[:, :2]) < _FARTHEST).all(axis=1)
        what = "not a finite number" if not np.isfinite(ring[~near]).all() else "beyond any slide"
        raise AnnotationError(
            f"A position is {what}",
            got=ring[~near][0].tolist(),
            remedy="Export the annotations again; a position that is not known cannot be drawn",
        )
    return ring[:, :2]
