"""From what a run says to what MLflow takes: curves, single figures, and names it accepts."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wsi_vit.tracking.journal import EPOCH, Record
from wsi_vit.tracking.run_folder import Score

POINTS_A_BATCH = 900
"""MLflow takes 1,000 things at once, tags included."""
_PARAM_CHARACTERS = 6000
_KEY_CHARACTERS = 250


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one curve."""

    sequence: int
    key: str
    step: int
    value: float
    time_ms: int

    @property
    def place(self) -> tuple[str, int]:
        """What may be taken once only: the curve and the step."""
        return self.key, self.step


def points_of(records: Iterable[Record]) -> Iterator[Point]:
    """Yield the points of every epoch; of an epoch told twice, the first telling counts.

    An attempt that resumes from a checkpoint runs its last epoch again; MLflow cannot take a point
    back, so what it may already hold stays what it is, whenever a sync is made.
    """
    taken: set[tuple[str, int]] = set()
    for record in records:
        if record.kind != EPOCH:
            continue
        step = int(record.payload.get("number", 0))
        for key, value in _figures(record.payload):
            point = Point(record.sequence, key, step, value, record.time_ms)
            if key != "number" and point.place not in taken:
                taken.add(point.place)
                yield point


def batches(points: list[Point], *, last: int) -> Iterator[tuple[list[Point], int]]:
    """Yield points with the record that is wholly told once they are acknowledged.

    The last batch, which may be empty, reaches to the journal's `last` record.
    """
    starts = range(0, max(len(points), 1), POINTS_A_BATCH)
    for start in starts:
        batch = points[start : start + POINTS_A_BATCH]
        following = points[start + POINTS_A_BATCH : start + POINTS_A_BATCH + 1]
        yield batch, following[0].sequence - 1 if following else last


def score_points(score: Score) -> Iterator[tuple[str, float]]:
    """Yield a figure of the evaluation as `test/<name>`, its bounds as `_low` and `_high`."""
    for suffix, value in (("", score.value), ("_low", score.low), ("_high", score.high)):
        if value is not None:
            yield safe_key(f"test/{score.name}{suffix}"), value


def safe_key(key: str) -> str:
    """Return a key that MLflow takes: letters, digits and `_-. /` only, not too long."""
    return re.sub(r"[^\w\-. /]", "_", key, flags=re.ASCII)[:_KEY_CHARACTERS]


def short_value(value: Any) -> str:
    """Return a setting as text no longer than MLflow takes; what was cut off is marked by `…`."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _PARAM_CHARACTERS else text[: _PARAM_CHARACTERS - 1] + "…"


def _figures(payload: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number with its path; a `value` beside the name of its `metric` takes that."""
    for key, value in payload.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            name = payload.get("metric", key) if key == "value" else key
            yield safe_key(f"{prefix}{name}"), float(value)
