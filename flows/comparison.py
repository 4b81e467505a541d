"""What runs side by side came to, side by side: a table with every failure, and a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.artifacts import show_pictures, show_table
from flows.side_by_side import Ran
from wsi_vit.cohort import SPLITS
from wsi_vit.evaluation.records import read_evaluation
from wsi_vit.evaluation.side_by_side import (
    class_scores_in_words,
    headline_in_words,
    side_by_side_chart,
)
from wsi_vit.evaluation.style import save
from wsi_vit.pipeline import ModelOutcome
from wsi_vit.store import read_manifest, write_whole


def show_comparison(ran: Sequence[Ran], *, folder: Path) -> None:
    """Put several runs into the page, and into `folder` as comparison.json and comparison.png."""
    rows = [row_of(item) for item in ran]
    with write_whole(folder / "comparison.json") as scratch:
        scratch.write_text(json.dumps(rows, indent=1) + "\n")
    show_table(rows, key="comparison", title="What became of each run; each has its own data")
    measured = {i.recipe: read_evaluation(i.run / "metrics.json") for i in ran if i.run}
    if measured:
        picture = save(side_by_side_chart(measured), folder / "comparison.png")
        show_pictures([picture], run_key="train-all")


def row_of(ran: Ran) -> dict[str, Any]:
    """Return what the table says of a run; the columns are the same for one that failed."""
    return {
        "recipe": ran.recipe,
        "state": "trained" if ran.end.completed else "failed",
        "minutes": ran.minutes,
        **(_measured(ran.run) if ran.run else dict.fromkeys(_MEASURED, "")),
        "version": _version(ran.end.result["model"]) if ran.end.result else "",
        "report, or what went wrong": str(ran.run / "report.html") if ran.run else ran.end.message,
    }


_MEASURED = ("classes", "examples", "headline (95 % interval)", "by class")


def _measured(run: Path) -> dict[str, Any]:
    found = read_evaluation(run / "metrics.json")
    splits = read_manifest((run / "dataset").resolve()).facts["splits"]
    counts = ", ".join(f"{splits[name]['examples']} {name}" for name in SPLITS)
    words = (len(found.classes), counts, headline_in_words(found), class_scores_in_words(found))
    return dict(zip(_MEASURED, words, strict=True))


def _version(model: dict[str, Any]) -> str:
    outcome = ModelOutcome.model_validate(model)
    return f"{outcome.name} {outcome.version}, {outcome.decision}"
