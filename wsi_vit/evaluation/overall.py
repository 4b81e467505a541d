"""One page over several runs: predicted slides first, then each run's sentence and pictures."""

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from wsi_vit.evaluation.page import document, picture, table
from wsi_vit.evaluation.records import read_evaluation
from wsi_vit.evaluation.words import headline_sentence, number, trivial_sentence
from wsi_vit.section import Section
from wsi_vit.store import write_whole

_FIGURES = ("overlays", "confusion", "classes", "training")
"""Of each run, the first two that it has."""

_LEAD = (
    '<p class="lead">Slides that neither training nor selection has seen: the slide, what is '
    "true, and what the model drew.</p>"
)


class OverallRun(Section):
    """What the page says of one run."""

    name: str
    folder: Path
    sentence: str
    trivial: str
    registered: Mapping[str, Any]
    """A row of the registry's table."""

    @classmethod
    def of(cls, folder: Path, registered: Mapping[str, Any]) -> Self:
        """Read a run's folder."""
        found = read_evaluation(folder / "metrics.json")
        return cls(
            name=folder.parent.name,
            folder=folder,
            sentence=headline_sentence(found),
            trivial=trivial_sentence(found),
            registered=registered,
        )


def write_overall(
    path: Path, *, title: str, runs: Sequence[OverallRun], slides: Sequence[tuple[str, Path]]
) -> Path:
    """Write a self-contained page; `slides` are titles and pictures of predicted slides."""
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            _LEAD if slides else "",
            *(
                picture(file, alt=f"{name}: slide, truth, prediction", caption=name, css="wide")
                for name, file in slides
            ),
            *(_section(run, path.parent) for run in runs),
            "<h2>In the registry</h2>",
            _registered(runs),
        ]
    )
    with write_whole(path) as scratch:
        scratch.write_text(document(title, body))
    return path


def _section(run: OverallRun, base: Path) -> str:
    report = quote(Path(os.path.relpath(run.folder / "report.html", base)).as_posix())
    found = [run.folder / "figures" / f"{name}.png" for name in _FIGURES]
    figures = "".join(
        picture(file, alt=f"{run.name}: {file.stem}", caption=file.stem)
        for file in [file for file in found if file.exists()][:2]
    )
    return (
        f"<h2>{escape(run.name)}</h2><p>{escape(run.sentence)} {escape(run.trivial)} "
        f'<a href="{escape(report)}">The whole report</a></p>'
        f'<div class="charts">{figures}</div>'
    )


def _registered(runs: Sequence[OverallRun]) -> str:
    shown = ("name", "version", "aliases", "headline", "decision")
    rows = [[escape(_cell(run.registered.get(key, ""))) for key in shown] for run in runs]
    return table("MLflow's model registry", shown, rows)


def _cell(value: Any) -> str:
    if value is None:
        return number(None)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
