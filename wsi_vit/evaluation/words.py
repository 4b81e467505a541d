"""What an evaluation says, in words that a pathologist reads without a glossary."""

from wsi_vit.evaluation.figures import WORDS
from wsi_vit.evaluation.records import Baseline, Evaluation, Score

_MEANING = {
    "macro_f1": (
        "Macro-F1 weighs missed and wrongly called tiles of every class alike, whether the class "
        "is common or rare; 1 is perfect, 0 is always wrong."
    ),
    "mean_iou": (
        "IoU is the area on which truth and prediction agree, divided by the area that either "
        "covers; 1 is a perfect outline, 0 no overlap. The mean is over classes."
    ),
}


def headline_sentence(evaluation: Evaluation) -> str:
    """Return the result in one sentence."""
    score = evaluation.headline
    task = (
        f"named the class of {'an image' if _of_images(evaluation) else 'a tile'}"
        if evaluation.task == "classification"
        else "drew the classes' outlines"
    )
    return (
        f"{_whom(evaluation)} the model {task} with a {WORDS.get(score.name, score.name)} of "
        f"{figure(score)}."
    )


def trivial_sentence(evaluation: Evaluation) -> str:
    """Return how that compares with rules that need no network."""
    best = best_baseline(evaluation)
    if best is None:
        return "No trivial rule could be tried, as there is no labelled training example."
    verb = "beats" if evaluation.beats_trivial else "does not beat"
    return f"It {verb} the best trivial rule, “{best.name}”, which reaches {number(best.value)}."


def meaning(evaluation: Evaluation) -> str:
    """Return what the headline metric means, and what it leaves out."""
    words = _MEANING.get(evaluation.headline.name, "")
    if evaluation.task == "classification":
        return words
    if evaluation.background is None:
        return f"{words} No class is left out of it."
    return f"{words} The background ({evaluation.background}) is left out of it."


def best_baseline(evaluation: Evaluation) -> Baseline | None:
    """Return the strongest trivial rule, None where there is none."""
    said = [rule for rule in evaluation.baselines if rule.value is not None]
    return max(said, key=lambda rule: rule.value or 0.0, default=None)


def figure(score: Score) -> str:
    """Return a figure with its interval: `0.94 (95 % interval 0.90 to 0.97)`."""
    if score.low is None or score.high is None:
        return number(score.value)
    return f"{number(score.value)} (95 % interval {number(score.low)} to {number(score.high)})"


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure as people write it; a dash where it cannot be said."""
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001


def counted(count: int, word: str) -> str:
    """Return `1 slide`, `2 slides`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _of_images(evaluation: Evaluation) -> bool:
    """Say whether every example is a picture of its own, and no tile of a slide."""
    return evaluation.slides == evaluation.examples


def _whom(evaluation: Evaluation) -> str:
    if _of_images(evaluation):
        size = counted(evaluation.examples, "image")
    else:
        tiles, slides = counted(evaluation.examples, "tile"), counted(evaluation.slides, "slide")
        size = f"{tiles} of {slides}"
    if evaluation.estimate == "regions of one patient":
        return f"On other regions of a patient it has learned from ({size})"
    if evaluation.split == "train":
        return f"On the very patients it has learned from ({size})"
    if evaluation.split == "validation":
        chosen = counted(evaluation.patients, "patient")
        return f"On {chosen} whose figures chose the weights ({size})"
    return f"On {counted(evaluation.patients, 'unseen patient')} ({size})"
