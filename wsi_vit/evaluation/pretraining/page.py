"""`report.html` of a pre-training run: what it draws, how it learnt, how to begin from it."""

from html import escape
from pathlib import Path

from wsi_vit.evaluation.figures import training_chart
from wsi_vit.evaluation.page import document, facts, picture, table
from wsi_vit.evaluation.pretraining.records import PretrainingEvaluation
from wsi_vit.evaluation.report import About, read_epochs
from wsi_vit.evaluation.style import save
from wsi_vit.evaluation.words import figure
from wsi_vit.store import write_whole

RECONSTRUCTION, TRAINING = "reconstruction.png", "training.png"

_SEEN = (
    "Tiles of the validation split: the tile, the patches that the model was shown, and what it "
    "drew in the place of the others. It predicts each patch less its mean and over its deviation; "
    "brightness and contrast of the drawn patches are therefore those of the truth."
)
_LEARNT = "How the training went; the ring is the epoch whose weights were kept."


def write_page(run: Path, found: PretrainingEvaluation, about: About) -> Path:
    """Write `report.html` of a run folder, and its training curves from the journal."""
    epochs = read_epochs(run / "journal.jsonl")
    if epochs:
        save(training_chart(epochs), run / "figures" / TRAINING)
    path = run / "report.html"
    with write_whole(path) as scratch:
        scratch.write_text(document(f"{about.title}: pre-training", _body(run, found, about)))
    return path


def _body(run: Path, found: PretrainingEvaluation, about: About) -> str:
    warnings = "".join(f"<li>{escape(text)}.</li>" for text in found.warnings)
    pictures = {RECONSTRUCTION: _SEEN, TRAINING: _LEARNT}
    shown = [
        picture(run / "figures" / name, alt=words, caption=words)
        for name, words in pictures.items()
        if (run / "figures" / name).exists()
    ]
    scores = [("this model", found.error), ("the mean colour of what is seen", found.mean_colour)]
    rows = [[escape(name), escape(figure(score))] for name, score in scores]
    parts = [
        f'<p class="over">{escape(about.title)} · pre-training · {escape(found.split)} split</p>',
        f"<h1>{escape(found.sentence())}</h1>",
        f'<div class="warnings" role="note"><strong>Read this first</strong><ul>{warnings}</ul>'
        "</div>",
        f'<p class="quiet">Trained on {escape(about.trained_on)}.</p>' if about.trained_on else "",
        *shown,
        table("Mean squared error of hidden patches of variance 1", ["", "error"], rows),
        "<h2>How to begin from it</h2>",
        f"<pre>wsi-vit run wsi_classification --start {escape(str(run / 'model'))}</pre>",
        "<h2>How to have it again</h2>",
        f"<pre>{escape(about.command)}</pre>" if about.command else "",
        facts(
            [
                ("dataset", found.dataset_digest),
                ("splits", found.split_digest),
                ("model weights", found.model_digest),
                *about.facts,
            ]
        ),
    ]
    return "\n".join(part for part in parts if part)
