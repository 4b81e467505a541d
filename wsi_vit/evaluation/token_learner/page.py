"""`comparison.html`: what TokenLearner saves and costs, on one page."""

from html import escape
from pathlib import Path

from wsi_vit.evaluation.page import document, facts, picture, table
from wsi_vit.evaluation.style import save
from wsi_vit.evaluation.token_learner.chart import comparison_chart
from wsi_vit.evaluation.token_learner.records import CHART, PAGE, RECORD, Comparison
from wsi_vit.evaluation.token_learner.words import (
    how_measured,
    how_tested,
    result_sentence,
    side_rows,
)


def write_comparison(found: Comparison, folder: Path) -> Path:
    """Write record, figure and page; return the page."""
    found.write(folder / RECORD)
    chart = save(comparison_chart(found), folder / CHART)
    path = folder / PAGE
    path.write_text(document(f"{found.recipe}: TokenLearner", _body(found, chart)))
    return path


def _body(found: Comparison, chart: Path) -> str:
    rows = side_rows(found)
    warnings = "".join(f"<li>{escape(text)}.</li>" for text in found.warnings)
    parts = [
        f'<p class="over">{escape(found.recipe)} · with and without TokenLearner</p>',
        f"<h1>{escape(result_sentence(found))}</h1>",
        '<div class="warnings" role="note"><strong>Read this first</strong>'
        f"<ul>{warnings}</ul></div>"
        if warnings
        else "",
        picture(chart, alt=result_sentence(found), caption=_caption(found)),
        table(
            "Both sides, mean over seeds",
            list(rows[0]),
            [[escape(cell) for cell in row.values()] for row in rows],
        ),
        f"<p>{escape(how_tested(found))}</p>",
        f"<p>{escape(how_measured(found))}</p>",
        "<h2>How to have it again</h2>",
        f"<pre>{escape(f'wsi-vit compare {found.recipe} --seeds {len(found.seeds)}')}</pre>",
        facts(
            [
                ("dataset", found.dataset_digest),
                ("splits", found.split_digest),
                ("runs without", ", ".join(found.without.runs)),
                ("runs with", ", ".join(found.learner.runs)),
            ]
        ),
    ]
    return "\n".join(part for part in parts if part)


def _caption(found: Comparison) -> str:
    return (
        f"Left: both sides, with 95 % intervals; small lines are the {len(found.seeds)} seeds. "
        "Right: what each seed gains or loses, and all of them with the 95 % interval; "
        "the dashed line is the margin."
    )
