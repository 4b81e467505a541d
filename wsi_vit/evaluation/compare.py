"""Plain comparison of two evaluations; the gate with paired intervals builds on it."""

from typing import Literal

from wsi_vit.evaluation.records import Evaluation
from wsi_vit.section import Section


class Comparison(Section):
    """Which of two models is better on the same examples, and why that can be said."""

    verdict: Literal["better", "not better", "not comparable"]
    reason: str
    metric: str
    challenger: float | None
    champion: float | None
    difference: float | None
    """Challenger minus champion; None where they cannot be compared."""


def better(challenger: Evaluation, champion: Evaluation) -> Comparison:
    """Compare the headline metric of two evaluations of the same split of the same dataset."""
    ours, theirs = challenger.headline, champion.headline
    obstacle = _obstacle(challenger, champion)
    difference = None
    if obstacle is None and ours.value is not None and theirs.value is not None:
        difference = round(ours.value - theirs.value, 6)
    if difference is None:
        verdict, reason = "not comparable", obstacle or "a headline figure is missing"
    elif difference > 0:
        verdict, reason = "better", f"{ours.name} is higher by {difference:.3f}"
    else:
        verdict, reason = "not better", f"{ours.name} is lower by {-difference:.3f}, or equal"
    return Comparison(
        verdict=verdict,
        reason=reason,
        metric=ours.name,
        challenger=ours.value,
        champion=theirs.value,
        difference=difference,
    )


def _obstacle(one: Evaluation, other: Evaluation) -> str | None:
    """Return the first thing that must agree and does not."""
    for what, ours, theirs in (
        ("datasets", one.dataset_digest, other.dataset_digest),
        ("dataset splits", one.split_digest, other.split_digest),
        ("parts of the split", one.split, other.split),
        ("headline metrics", one.headline.name, other.headline.name),
        ("background classes", one.background, other.background),
    ):
        if ours != theirs:
            return f"they were measured on different {what}: {_short(ours)} and {_short(theirs)}"
    return None


def _short(value: str | None) -> str:
    return value[:16] if value else "none"
