"""What a flow run shows in Prefect's pages: pictures, then tables, then numbers."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from wsi_vit.pipeline import SlideOutcome

_MAX_PICTURE_BYTES = 350_000
"""Prefect stores an artifact in its database; a larger picture stays a file and is named."""


def show_pictures(pictures: Iterable[Path], *, run_key: str) -> None:
    """Put PNG or JPEG pictures into the run's page."""
    for picture in pictures:
        data = picture.read_bytes()
        if len(data) > _MAX_PICTURE_BYTES:
            continue
        kind = "png" if picture.suffix == ".png" else "jpeg"
        create_image_artifact(
            image_url=f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
            key=slug(run_key, picture.stem),
            description=picture.stem.replace("_", " "),
        )


def show_table(rows: Sequence[dict[str, Any]], *, key: str, title: str) -> None:
    """Put a table into the run's page."""
    if rows:
        create_table_artifact(table=list(rows), key=slug(key), description=title)


def show_text(text: str, *, key: str, title: str) -> None:
    """Put Markdown into the run's page."""
    create_markdown_artifact(markdown=text, key=slug(key), description=title)


def show_slides(outcomes: Sequence[SlideOutcome], *, key: str) -> None:
    """Put what became of each slide into the run's page, the quarantined first."""
    ordered = sorted(outcomes, key=lambda item: (item.state != "quarantined", item.slide_id))
    rows = [
        {
            "slide": item.slide_id,
            "state": item.state,
            "tiles": item.tiles,
            "reason": item.reason or "",
            "what to do": item.message,
        }
        for item in ordered
    ]
    show_table(rows, key=slug(key, "slides"), title="What became of each slide")


def slug(*parts: str) -> str:
    """Return an artifact key: lower-case letters, digits and dashes."""
    text = "-".join(parts).lower()
    return "-".join("".join(c if c.isalnum() else " " for c in text).split())
