"""explanation.json: what was explained with what, how to read it, how far to believe it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_vit.explanation.faithfulness import Faithfulness, Gain
from wsi_vit.explanation.section import Method
from wsi_vit.labels import LabelMap
from wsi_vit.prediction.record import ModelFacts, Provenance, ResolutionFacts, SlideFacts
from wsi_vit.prediction.scene_record import ImageFacts
from wsi_vit.section import Section

RECORD, MAP, FIGURE = "explanation.json", "map.npy", "explanation.png"
EACH_OWN = "each tile's own"
"""What the explained class of a slide is called where nobody named one."""

FORMULAS: dict[Method, str] = {
    "rollout": "Abnar & Zuidema 2020: product of 0.5 A + 0.5 I over all blocks, the row that the "
    "head sees; its patches, a part of a sum of 1",
    "gradient": "Chefer, Gur & Wolf 2021: R = R + A' R over all blocks, A' the mean over heads of "
    "max(0, dy/dA * A); the row that the head sees, without the token's own",
    "attention": "weights of the last block, head by head, in the row that the head sees",
    "tokens": "weight of each patch in each learned token",
    "gradcam": "Selvaraju et al. 2017: max(0, sum of the last feature maps, each times its mean "
    "gradient)",
}
"""What a value of a raw map is."""


class ClassScore(Section):
    """A class and its score."""

    name: str
    score: float


class PictureMap(Section):
    """The raw map of a picture."""

    file: str = MAP
    form: str = "NumPy float32 (parts, rows, columns), over the upright picture from edge to edge"
    parts: int
    """1, or one a head or a learned token."""
    rows: int
    columns: int
    cell_px: tuple[float, float]
    """Width and height of a cell in pixels of the picture."""
    pixel_um: float | None
    """Side of a pixel of the picture in micrometres, where somebody said it."""
    values: str


class SlideMap(Section):
    """The raw map of a slide."""

    file: str = MAP
    form: str = "NumPy float32 (rows, columns); NaN where no tile lies"
    frame: str = "pixel (i, j) covers base pixels [j s, (j + 1) s) x [i s, (i + 1) s), s = step"
    step_base_px: float
    pixel_um: float
    rows: int
    columns: int
    cells: int
    """Cells along the side of a tile."""
    stride: int
    """From one tile to the next, in cells."""
    values: str = (
        "score of the explained class in the tile, times the cell's value over the mean of the "
        "tile's cells (1 is an even share); the Gaussian-weighted mean where tiles overlap"
    )


class ExplanationRecord(Section):
    """What is known of any explanation."""

    model: ModelFacts
    method: Method
    formula: str
    settings: dict[str, Any]
    """All that was asked."""
    explained_class: str
    """The class's name, or `EACH_OWN`."""
    classes: tuple[ClassScore, ...]
    """In training-id order; of a slide the means over its tiles."""
    provenance: Provenance


class PictureExplanation(ExplanationRecord):
    """The JSON beside an explained picture."""

    image: ImageFacts
    map: PictureMap
    faithfulness: Faithfulness | None = None
    """Of the mean of the map's parts, where it was asked for."""


class SlideExplanation(ExplanationRecord):
    """The JSON beside an explained slide."""

    slide: SlideFacts
    resolution: ResolutionFacts
    map: SlideMap
    tiles: int
    invalid: int
    """Tiles that could not be read; they are holes in the map."""
    faithfulness: Gain | None = None
    """Over some of its tiles, where it was asked for."""


def class_scores(labels: LabelMap, scores: NDArray[np.floating]) -> tuple[ClassScore, ...]:
    """Return one entry a class for scores (classes,)."""
    pairs = zip(labels.names, scores, strict=True)
    return tuple(ClassScore(name=name, score=round(float(score), 6)) for name, score in pairs)
