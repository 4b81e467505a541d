"""What is measured of tiles, beside the tissue they show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TileMeasures:
    """The measures of some tiles, each of shape (n,), float32, from 0 to 1."""

    blur: NDArray[np.float32]
    """Of the tile's tissue, see `blur`; NaN where it is not known."""
    pen: NDArray[np.float32]
    """Share under ink."""
    dark: NDArray[np.float32]
    """Share in folds, or otherwise about twice as dense as the slide's tissue."""
    glass: NDArray[np.float32]
    """Share that lets all light pass: glass, lumen, fat."""

    def columns(self) -> dict[str, NDArray[np.float32]]:
        """Return the measures by their names."""
        return {"blur": self.blur, "pen": self.pen, "dark": self.dark, "glass": self.glass}

    def __getitem__(self, which: slice | NDArray[np.integer]) -> "TileMeasures":
        """Return some of the tiles."""
        return TileMeasures(**{name: values[which] for name, values in self.columns().items()})
