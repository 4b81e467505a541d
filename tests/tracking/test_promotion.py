from datetime import UTC, datetime
from typing import Any

import pytest

from wsi_vit.errors import RegistryError
from wsi_vit.tracking.promotion import champions, decide
from wsi_vit.tracking.run_folder import Score
from wsi_vit.tracking.versions import Decision, Outcome, Version


def version(number: int, value: float | None = 0.8, **facts: Any) -> Version:
    plain: dict[str, Any] = {
        "name": "wsi-vit-demo",
        "version": number,
        "run_id": "r",
        "run_key": "k",
        "created": datetime.now(UTC),
        "aliases": (),
        "headline": Score(name="macro_f1", value=value, low=0.7, high=0.9),
        "estimate": "unseen patients",
        "beats_trivial": True,
        "dataset_digest": "d",
        "split_digest": "s",
        "recipe_digest": "r",
        "model_digest": "m",
        "git_commit": "unknown",
        "decision": None,
        "files": {},
    }
    return Version(**plain | facts)


def entry(outcome: Outcome, number: int) -> Decision:
    return Decision(
        name="wsi-vit-demo",
        version=number,
        outcome=outcome,
        reason="",
        champion_before=None,
        champion_after=None,
        time=datetime.now(UTC),
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [(0.9, 0.8, "promoted"), (0.8, 0.8, "kept"), (0.7, 0.8, "kept"), (0.1, None, "promoted")],
)
def test_only_a_better_headline_takes_over(
    ours: float, theirs: float | None, outcome: Outcome
) -> None:
    assert decide(version(2, ours), version(1, theirs))[0] == outcome


def test_the_reason_names_both_figures_with_their_intervals() -> None:
    _, reason = decide(version(2, 0.85), version(1, 0.8))
    assert "version 2 with macro_f1 0.850 [0.700, 0.900]" in reason
    assert "version 1 with macro_f1 0.800" in reason


def test_the_champion_stays_champion() -> None:
    outcome, reason = decide(version(1), version(1))
    assert outcome == "kept"
    assert "already" in reason


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"estimate": "regions of one patient"}, "unseen patients"),
        ({"beats_trivial": False}, "trivial"),
        ({"decision": "rolled_back"}, "rolled back"),
        ({"headline": Score(name="macro_f1", value=None)}, "headline"),
    ],
)
@pytest.mark.parametrize("champion", [None, version(1, 0.1)])
def test_the_unfit_are_refused_with_or_without_a_champion(
    facts: dict[str, Any], words: str, champion: Version | None
) -> None:
    with pytest.raises(RegistryError, match=words):
        decide(version(2, **facts), champion)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"dataset_digest": "x"}, "another dataset"),
        ({"split_digest": "x"}, "another split"),
        ({"headline": Score(name="iou", value=1.0)}, "another headline figure"),
        ({"dataset_digest": "x", "split_digest": "x"}, "another dataset and split"),
    ],
)
def test_figures_of_different_things_are_not_compared(facts: dict[str, Any], words: str) -> None:
    with pytest.raises(RegistryError, match=words):
        decide(version(2, **facts), version(1))


def test_the_line_of_champions_forgets_those_rolled_back() -> None:
    ledger = [
        entry("first", 1),
        entry("refused", 2),
        entry("promoted", 3),
        entry("kept", 4),
        entry("promoted", 5),
    ]
    assert champions(ledger) == [1, 3, 5]
    assert champions([*ledger, entry("rolled_back", 5)]) == [1, 3]
    assert champions([]) == []
