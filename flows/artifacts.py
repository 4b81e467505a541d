"""What a flow run shows in Prefect's pages: pictures, then tables, then numbers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from wsi_vit.evaluation.page import data_uri
from wsi_vit.evaluation.records import read_evaluation
from wsi_vit.evaluation.words import headline_sentence, trivial_sentence
from wsi_vit.pipeline import ModelOutcome, SlideOutcome

_PICTURE_BYTES, _PICTURE_PX = 200_000, 1400
"""Prefect keeps an artifact in its database: a larger picture is shown as a smaller JPEG."""


def show_pictures(pictures: Iterable[Path], *, run_key: str) -> None:
    """Put PNG or JPEG pictures into the run's page."""
    for picture in pictures:
        create_image_artifact(
            image_url=data_uri(picture, most_bytes=_PICTURE_BYTES, longest_px=_PICTURE_PX),
            key=slug(run_key, picture.stem),
            description=picture.stem.replace("_", " "),
        )


def show_table(rows: Sequence[dict[str, Any]], *, key: str, title: str) -> None:
    """Put a table into the run's page."""
    if rows:
        create_table_artifact(table=list(rows), key=slug(key), description=title)


def show_result(words: str, report: Path, *, run_key: str) -> None:
    """Put what a run came to, in Markdown, and the way to its report into its page."""
    create_markdown_artifact(
        markdown=f"# {words}\n\nReport: `{report}`", key=slug(run_key, "result")
    )


def show_slides(outcomes: Sequence[SlideOutcome], *, key: str) -> None:
    """Put what became of each slide into the run's page, the quarantined first."""
    ordered = sorted(outcomes, key=lambda item: (item.state != "quarantined", item.slide_id))
    rows = [item.row() for item in ordered]
    show_table(rows, key=slug(key, "slides"), title="What became of each slide")


def show_evaluation(run: Path, version: ModelOutcome) -> None:
    """Put the figures, the metrics and the way to the report into the run's page."""
    found = read_evaluation(run / "metrics.json")
    name = run.parent.name
    words = f"{headline_sentence(found)}\n\n{trivial_sentence(found)}"
    show_result(words, run / "report.html", run_key=name)
    show_pictures(sorted((run / "figures").glob("*.png")), run_key=name)
    scores = [
        {"metric": s.name, "value": s.value, "from": s.low, "to": s.high}
        for s in found.level("tile").scores
    ]
    show_table(scores, key=slug(name, "metrics"), title="Test split, 95 % intervals over patients")
    show_table([version.row()], key=slug(name, "version"), title="In the registry")


def slug(*parts: str) -> str:
    """Return an artifact key: lower-case letters, digits and dashes."""
    text = "-".join(parts).lower()
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in text).split())
