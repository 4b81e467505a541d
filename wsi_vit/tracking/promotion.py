"""Whether a version may become champion: arithmetic on records, apart from MLflow.

For now a plain comparison: the first version that beats the trivial baselines, then whichever has
the better headline on the same examples.
"""

from collections.abc import Sequence
from typing import Literal

from wsi_vit.errors import RegistryError
from wsi_vit.tracking.versions import REGIONS, Decision, Version


def decide(
    candidate: Version, champion: Version | None
) -> tuple[Literal["first", "promoted", "kept"], str]:
    """Return how the comparison ends, and why, in one sentence.

    Raises:
        RegistryError: The candidate may never be champion, or cannot be compared with the champion.
    """
    _refuse_unfit(candidate)
    ours = _spoken(candidate)
    if champion is None:
        return "first", f"the first version that beats the trivial baselines: {ours}"
    if champion.version == candidate.version:
        return "kept", f"it is the champion already: {ours}"
    _refuse_incomparable(candidate, champion)
    theirs = _spoken(champion)
    if _value(candidate) > _value(champion):
        return "promoted", f"{ours} against {theirs} on the same examples"
    return "kept", f"{ours} is no better than {theirs} on the same examples"


def champions(ledger: Sequence[Decision]) -> list[int]:
    """Return the champions that led to today's, oldest first; those rolled back are gone."""
    line: list[int] = []
    for decision in ledger:
        if decision.outcome in ("first", "promoted"):
            line = [v for v in line if v != decision.version] + [decision.version]
        elif decision.outcome == "rolled_back":
            line = [v for v in line if v != decision.version]
    return line


def _refuse_unfit(candidate: Version) -> None:
    if candidate.estimate == REGIONS:
        raise _refusal(
            "A model measured on other regions of a patient it learnt from is never promoted: "
            "its figures are no estimate on unseen patients",
            candidate,
            "Train on a cohort of several patients with `split: {kind: patients}`",
        )
    if candidate.headline.value is None:
        raise _refusal("A version without a headline figure", candidate, "Evaluate its run again")
    if not candidate.beats_trivial:
        raise _refusal(
            f"No better than a trivial rule ({_spoken(candidate)})",
            candidate,
            "Train longer, or look at its report for classes it never finds",
        )
    if candidate.decision == "rolled_back":
        raise _refusal(
            "A version that was rolled back is not promoted again", candidate, "Train another"
        )


def _refuse_incomparable(candidate: Version, champion: Version) -> None:
    differing = [
        what
        for what, same in (
            ("dataset", candidate.dataset_digest == champion.dataset_digest),
            ("split", candidate.split_digest == champion.split_digest),
            ("headline figure", candidate.headline.name == champion.headline.name),
        )
        if not same
    ]
    if differing:
        raise _refusal(
            f"Not comparable with the champion, version {champion.version}: another "
            + " and ".join(differing),
            candidate,
            "Train both recipes on one dataset with one split, then promote the better",
        )


def _refusal(what: str, candidate: Version, remedy: str) -> RegistryError:
    return RegistryError(what, got=candidate.uri, remedy=remedy)


def _value(version: Version) -> float:
    return float("-inf") if version.headline.value is None else version.headline.value


def _spoken(version: Version) -> str:
    score = version.headline
    interval = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
    return f"version {version.version} with {score.name} {_value(version):.3f}{interval}"
