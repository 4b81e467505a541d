"""Two ways on the same test images: confusion counts an image, intervals from a paired bootstrap.

Whole units are drawn (a case, a photo, a run of video frames), the same ones for both ways, so that
a difference is judged on the images that both saw.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED = 10_000, 0

Rows = list[dict[str, Any]]
"""One row a test image: the unit it belongs to (`case`) and its confusion counts."""

Counts = NDArray[np.int64]


def as_tensor(images: Sequence[NDArray[np.uint8]]) -> Any:
    """Stack RGB images (H, W, 3) to uint8 (B, 3, H, W)."""
    import torch

    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def judged(data: Any, scores: Callable[[Any], Any], *, split: str = "test") -> Rows:
    """Return the confusion counts of each image of one split of an opened dataset."""
    import torch

    rows: Rows = []
    for example in data.examples(split).__getitems__(range(len(data.examples(split)))):
        with torch.inference_mode():
            said = scores(as_tensor([example.image]))[0].argmax(0).numpy().astype(np.uint8)
        rows.append(counted(example, said, len(data.labels)))
    return rows


def counted(example: Any, said: NDArray[np.uint8], classes: int) -> dict[str, Any]:
    """Return the row of one test image, for what was said of it: a class, or one a pixel."""
    from wsi_vit.metrics import count_pairs

    counts = count_pairs(example.target.reshape(-1), said.reshape(-1), classes)
    return {"case": example.patient, "counts": counts.tolist()}


def by_case(rows: Rows) -> Counts:
    """Return confusion counts a unit, (units, classes, classes), by the unit's name."""
    cases = sorted({row["case"] for row in rows})
    size = len(rows[0]["counts"])
    table = np.zeros((len(cases), size, size), np.int64)
    for row in rows:
        table[cases.index(row["case"])] += np.array(row["counts"])
    return table


def interval(score: Callable[[Counts], Any], *tables: Counts) -> dict[str, float]:
    """Return a score (of two tables: the difference) with its 95 % interval over units."""
    cases = len(tables[0])
    weights = np.random.default_rng(SEED).multinomial(cases, [1 / cases] * cases, RESAMPLES)

    def difference(pick: Callable[[Counts], Any]) -> Any:
        values = [score(pick(table)) for table in tables]
        return values[0] - values[1] if len(values) == 2 else values[0]

    value = difference(lambda table: table.sum(axis=0))
    drawn = difference(lambda table: np.einsum("rc,cij->rij", weights, table))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return {
        "value": round(float(value), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def iou_of(class_id: int) -> Callable[[Counts], Any]:
    """Return the metric that is one class's IoU."""
    from wsi_vit.metrics import iou_per_class

    return lambda counts: iou_per_class(counts)[..., class_id]
