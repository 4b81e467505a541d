"""What every source yields and every model learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "segmentation", "multi_label", "pretraining"]
"""Whether an example's target is one class id, a mask of them, what is known of each of several
labels, or of no account (always 0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One image with what is true of it."""

    image: NDArray[np.uint8]
    """Shape (height, width, 3), RGB."""
    target: NDArray[np.uint8]
    """Shape () for a class id, (height, width) for a mask: training ids, 255 is ignored. Shape
    (labels,) for several labels: 1 present, 0 absent, 255 not known."""
    key: str
    """Names the example in its dataset: `slide_id/x_y` for a tile, the file's stem for an image."""
    slide_id: str
    """The slide, or the image file, it was cut from."""
    patient: str
    """What must not straddle two splits: the patient, or the photo itself."""


class Examples(Protocol):
    """One split of a dataset, map-style and read in batches.

    The training loop needs nothing more, so a machine without the `datasets` library can hand it
    any object of this shape.
    """

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Return the examples at these positions, decoded, in this order."""
        ...
