"""`report.html`: what a run reached, on one page that is looked at before it is read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from wsi_vit.evaluation.figures import WORDS, training_chart
from wsi_vit.evaluation.multi_label.pictures import FOUND, MISTAKEN
from wsi_vit.evaluation.page import document, facts, picture
from wsi_vit.evaluation.records import Evaluation, Score, read_evaluation
from wsi_vit.evaluation.report_tables import all_tables
from wsi_vit.evaluation.style import save
from wsi_vit.evaluation.words import headline_sentence, meaning, number, trivial_sentence
from wsi_vit.section import Section
from wsi_vit.store import write_whole

SlidePicture = tuple[str, Path]
"""A title and a picture of a predicted slide."""

_CAPTIONS = {
    "overlays": (
        "The best, the median and the worst example by mean IoU: the image, what was annotated, "
        "and what the model drew."
    ),
    "right": "{Examples} the model was surest of, and right about; classes take turns.",
    "wrong": (
        "{Examples} the model was surest of, and wrong about: the true class, then its answer."
    ),
    FOUND: "{Examples} that show a label and are called so most surely; labels take turns.",
    MISTAKEN: (
        "{Examples} whose call is furthest from right: false alarms, and labels that were missed. "
        "“From” is the score at which the label is called present."
    ),
    "confusion": "Where the classes are confused. Each row is a true class and adds up to 100 %.",
    "classes": "Every class by itself.",
    "roc": "How well each class can be told from the rest at every threshold.",
    "precision_recall": (
        "What share of a label's examples is found, and what share of the calls is right, at every "
        "threshold. The dot is the threshold that was tuned on the validation split, the dotted "
        "line how common the label is: what chance reaches."
    ),
    "reliability": (
        "Whether a confidence means what it says: bars on the dotted line would be perfect."
    ),
    "training": "How the training went; the ring is the epoch whose weights were kept.",
}
_PICTURES = ("overlays", "right", "wrong", FOUND, MISTAKEN)
_CHARTS = ("classes", "confusion", "precision_recall", "roc", "reliability", "training")
_WIDE = ("classes",)


class About(Section):
    """What the page says of the run beyond its figures."""

    title: str
    trained_on: str = ""
    """In words: `9 patients, 1,204 tiles`."""
    command: str = ""
    """What to type to have this run again."""
    facts: tuple[tuple[str, str], ...] = ()
    """Further names and values, such as digests and versions."""


def write_report(
    run: Path, *, about: About | None = None, slides: Sequence[SlidePicture] = ()
) -> Path:
    """Write `report.html` of a run folder from `metrics.json`, `figures/` and `journal.jsonl`.

    The training curves are drawn from the journal's epochs if there are any. The page holds its
    pictures and makes no request; a script-free Content-Security-Policy says so to the browser.
    """
    evaluation = read_evaluation(run / "metrics.json")
    about = about or About(title=run.resolve().parent.name)
    epochs = read_epochs(run / "journal.jsonl")
    if epochs:
        save(training_chart(epochs), run / "figures" / "training.png")
    recipe, captions = run / "recipe.yaml", _captions(evaluation)
    body = "\n".join(
        [
            _opening(evaluation, about),
            _pictures(run / "figures", captions, slides),
            _charts(run / "figures", captions),
            all_tables(evaluation),
            _reproduce(evaluation, about, recipe.read_text() if recipe.exists() else ""),
        ]
    )
    path = run / "report.html"
    with write_whole(path) as scratch:
        scratch.write_text(document(f"{about.title}: {WORDS[evaluation.headline.name]}", body))
    return path


def read_epochs(journal: Path) -> list[Mapping[str, Any]]:
    """Return the epochs of a journal in order, the last record of each; a torn line is left out."""
    found: dict[int, Mapping[str, Any]] = {}
    # Bytes: a kill may tear a line inside a letter, and letters hold line ends of other kinds.
    for line in journal.read_bytes().split(b"\n") if journal.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the line that a kill tore; the journal's own reader reports it
        if record.get("kind") == "epoch":
            found[int(record["payload"]["number"])] = record["payload"]
    return [found[number] for number in sorted(found)]


def _opening(evaluation: Evaluation, about: About) -> str:
    parts = [
        f'<p class="over">{escape(about.title)} · {escape(evaluation.task)} · '
        f"{escape(evaluation.split)} split</p>",
        f"<h1>{escape(headline_sentence(evaluation))}</h1>",
        f'<p class="lead">{escape(trivial_sentence(evaluation))}</p>',
        _warnings(evaluation),
        _scale(evaluation),
        f'<p class="quiet">{escape(meaning(evaluation))}</p>',
    ]
    if about.trained_on:
        parts.append(f'<p class="quiet">Trained on {escape(about.trained_on)}.</p>')
    return "\n".join(part for part in parts if part)


def _warnings(evaluation: Evaluation) -> str:
    if not evaluation.warnings:
        return ""
    items = "".join(f"<li>{escape(text)}.</li>" for text in evaluation.warnings)
    return (
        f'<div class="warnings" role="note"><strong>Read this first</strong><ul>{items}</ul></div>'
    )


def _scale(evaluation: Evaluation) -> str:
    """Return bars of the model and of the trivial rules on one scale from 0 to 1."""
    rows = [_scale_row("this model", evaluation.headline, css="model")]
    rows += [
        _scale_row(rule.name, Score(name=rule.name, value=rule.value), css="rule")
        for rule in sorted(evaluation.baselines, key=lambda rule: -(rule.value or 0.0))
    ]
    label = f"{WORDS[evaluation.headline.name]} from 0 to 1"
    return f'<div class="scale" role="group" aria-label="{escape(label)}">{"".join(rows)}</div>'


def _scale_row(name: str, score: Score, *, css: str) -> str:
    bold = " first" if css == "model" else ""
    line = ""
    if score.low is not None and score.high is not None:
        width = 100 * (score.high - score.low)
        line = f'<div class="range" style="left:{100 * score.low:.2f}%;width:{width:.2f}%"></div>'
    share = 100 * max(0.0, min(1.0, score.value or 0.0))
    return (
        f'<div class="name{bold}">{escape(name)}</div><div class="track">'
        f'<div class="fill {css}" style="width:{share:.2f}%"></div>{line}</div>'
        f'<div class="value{bold}">{number(score.value)}</div>\n'
    )


def _captions(evaluation: Evaluation) -> Mapping[str, str]:
    """Return what is said below each figure, in this dataset's words."""
    things = f"{evaluation.example_word}s".capitalize()
    captions = {name: text.format(Examples=things) for name, text in _CAPTIONS.items()}
    if evaluation.interval_reason is None:
        captions["classes"] += f" The dark line is the 95 % interval over {evaluation.unit}."
    return captions


def _pictures(folder: Path, captions: Mapping[str, str], slides: Sequence[SlidePicture]) -> str:
    shown = "".join(
        picture(path, alt=f"The model's classes drawn over {title}", caption=title)
        for title, path in slides
    )
    parts = [f'<div class="slides">{shown}</div>'] if shown else []
    parts += list(_figures(folder, _PICTURES, captions))
    return "\n".join(["<h2>What it sees</h2>", *parts]) if parts else ""


def _charts(folder: Path, captions: Mapping[str, str]) -> str:
    charts = "\n".join(_figures(folder, _CHARTS, captions))
    return f'<h2>How good it is</h2>\n<div class="charts">{charts}</div>' if charts else ""


def _figures(folder: Path, names: Sequence[str], captions: Mapping[str, str]) -> Iterator[str]:
    for name in names:
        path = folder / f"{name}.png"
        if path.exists():
            css = "wide" if name in _WIDE or name in _PICTURES else ""
            yield picture(path, alt=captions[name], caption=captions[name], css=css)


def _reproduce(evaluation: Evaluation, about: About, recipe: str) -> str:
    parts = ["<h2>How to have it again</h2>"]
    if about.command:
        parts.append(f"<pre>{escape(about.command)}</pre>")
    known = [
        ("dataset", evaluation.dataset_digest),
        ("splits", evaluation.split_digest),
        ("model weights", evaluation.model_digest or "not recorded"),
        *about.facts,
    ]
    parts.append(facts(known))
    if recipe:
        parts.append(
            f"<details><summary>The recipe, resolved</summary><pre>{escape(recipe)}</pre></details>"
        )
    return "\n".join(parts)
