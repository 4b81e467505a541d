"""The tables of `report.html`: figures by level, by class, by definition, by slide and patient."""

from collections.abc import Iterator, Sequence
from html import escape

from wsi_vit.evaluation.figures import WORDS
from wsi_vit.evaluation.page import table
from wsi_vit.evaluation.records import (
    AnomalyFound,
    Definition,
    Evaluation,
    GroupScore,
    Level,
    Score,
)
from wsi_vit.evaluation.units import one_of, so_many
from wsi_vit.evaluation.words import anomaly_sentences, definition_sentences, number

_ROWS_SHOWN = 12


def all_tables(evaluation: Evaluation) -> str:
    """Return every table of an evaluation, as HTML."""
    parts = ["<h2>The figures</h2>", _interval_note(evaluation), _level_table(evaluation)]
    parts += [_class_table(evaluation), *_definition_table(evaluation)]
    parts.append(_baseline_table(evaluation))
    if evaluation.anomaly:
        parts.append(_anomaly_table(evaluation, evaluation.anomaly))
    groups = []
    if evaluation.patients > 1:
        groups.append(_group_table(one_of(evaluation.unit), evaluation.per_patient, evaluation))
    if evaluation.slides not in (1, evaluation.patients, evaluation.examples):
        groups.append(_group_table("slide", evaluation.per_slide, evaluation))
    return "\n".join([*parts, f'<div class="beside">{"".join(groups)}</div>'])


def _interval_note(evaluation: Evaluation) -> str:
    if evaluation.interval_reason:
        note = f"No intervals: {evaluation.interval_reason}."
    else:
        note = (
            "Small figures are 95 % intervals from a bootstrap over "
            f"{so_many(evaluation.patients, evaluation.unit)} ({evaluation.resamples:,} resamples, "
            f"seed {evaluation.seed}). A dash: cannot be said from these examples."
        )
    return f'<p class="quiet">{escape(note)}</p>'


def _level_table(evaluation: Evaluation) -> str:
    words, names = _level_words(evaluation), [s.name for s in evaluation.levels[0].scores]
    rows = [
        [
            f"{escape(words[level.level])} <small>{_items(level, evaluation):,}</small>",
            *(_cell(level.score(name)) for name in names),
            escape(level.how),
        ]
        for level in evaluation.levels
        if level.level in words
    ]
    header = ["level", *(WORDS[name] for name in names), "how"]
    *first, last = (f"by {word}" for word in words.values())
    caption = f"{', '.join(first)} and {last}" if first else last
    return table(caption.capitalize(), header, rows, words=len(header) - 1)


def _level_words(evaluation: Evaluation) -> dict[str, str]:
    """Return what each level is called here, without those that would say the same again."""
    pixels, unit = evaluation.task == "segmentation", one_of(evaluation.unit)
    if evaluation.example_word == "tile":
        return {"tile": "pixel" if pixels else "tile", "slide": "slide", "patient": unit}
    words = {"tile": "pixel", "slide": "image"} if pixels else {"tile": "image"}
    return words if evaluation.patients == evaluation.slides else {**words, "patient": unit}


def _items(level: Level, evaluation: Evaluation) -> int:
    """Return how many of its own a level counts."""
    if level.level == "tile" and evaluation.task == "segmentation":
        return sum(row.support for row in evaluation.classes)
    return level.items


def _definition_table(evaluation: Evaluation) -> Iterator[str]:
    """Yield the figures under each definition, and what compares with what; nothing if alike."""
    if not evaluation.definitions:
        return
    columns = [_by_word(definition) for definition in evaluation.definitions]
    rows = [[escape(word), *(_cell(column[word]) for column in columns)] for word in columns[0]]
    header = ["", *(definition.name for definition in evaluation.definitions)]
    yield table("The same counts, as others define them", header, rows)
    yield f'<p class="quiet">{escape(definition_sentences(evaluation))}</p>'


def _by_word(definition: Definition) -> dict[str, Score]:
    means = {WORDS[score.name]: score for score in definition.scores}
    return {**means, **{f"IoU {score.name}": score for score in definition.classes}}


def _class_table(evaluation: Evaluation) -> str:
    names = [score.name for score in evaluation.classes[0].scores]
    unit = "pixels" if evaluation.task == "segmentation" else f"{evaluation.example_word}s"
    rows = [
        [
            f'<span class="swatch" style="background:{escape(row.colour)}"></span>'
            f"{escape(row.name)}",
            f"{row.support:,}",
            *(_cell(row.score(name)) for name in names),
        ]
        for row in evaluation.classes
    ]
    word = "label" if evaluation.task == "multi_label" else "class"
    return table(f"By {word}", [word, unit, *(WORDS[name] for name in names)], rows)


def _baseline_table(evaluation: Evaluation) -> str:
    rows = [
        [escape(rule.name), number(rule.value, 3), escape(rule.how)]
        for rule in evaluation.baselines
    ]
    metric = WORDS[evaluation.headline.name]
    return table(
        "Trivial rules on the same examples", ["rule", metric, "what it does"], rows, words=2
    )


def _anomaly_table(evaluation: Evaluation, found: AnomalyFound) -> str:
    rows = [[escape(score.name), _cell(score)] for score in found.unseen]
    things = f"{evaluation.example_word}s"
    header = [f"its {things}", f"AUROC against the other {things}"]
    note = f'<p class="quiet">{escape(anomaly_sentences(evaluation, found))}</p>'
    return table("What would be noticed as unlike the training", header, rows) + note


def _group_table(word: str, groups: Sequence[GroupScore], evaluation: Evaluation) -> str:
    ordered = sorted(groups, key=lambda g: (g.value is None, g.value or 0.0, g.name))
    rows = [
        [escape(group.name), f"{group.items:,}", number(group.value, 3)]
        for group in ordered[:_ROWS_SHOWN]
    ]
    rest = len(ordered) - len(rows)
    more = f"; {rest:,} better ones are in metrics.json" if rest else ""
    metric = WORDS[evaluation.headline.name]
    return table(
        f"By {word}, worst first{more}", [word, f"{evaluation.example_word}s", metric], rows
    )


def _cell(score: Score) -> str:
    if score.low is None or score.high is None:
        return number(score.value, 3)
    return (
        f"{number(score.value, 3)}<small>{number(score.low, 3)} to {number(score.high, 3)}</small>"
    )
