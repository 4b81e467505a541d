"""What an evaluation says, in words that a pathologist reads without a glossary."""

from wsi_vit.datasets.example import Task
from wsi_vit.evaluation.figures import WORDS
from wsi_vit.evaluation.records import (
    REGIONS,
    UNSEEN_SITES,
    AnomalyFound,
    Baseline,
    Definition,
    Evaluation,
    Score,
)
from wsi_vit.evaluation.units import one_of, so_many

_MEANING = {
    "macro_f1": (
        "Macro-F1 weighs missed and wrongly called tiles of every class alike, whether the class "
        "is common or rare; 1 is perfect, 0 is always wrong."
    ),
    "mean_ap": (
        "Average precision is how often, going down the examples from the highest score, a call "
        "has been right whenever another of the label's examples is found; 1 is perfect, and the "
        "share of examples that show the label is chance. The mean is over labels. No threshold "
        "decides it; those of F1, precision and recall were tuned on the validation split."
    ),
    "mean_iou": (
        "IoU is the area on which truth and prediction agree, divided by the area that either "
        "covers; 1 is a perfect outline, 0 no overlap. The mean is over classes."
    ),
}

_DONE: dict[Task, str] = {
    "classification": "named the class of {thing}",
    "segmentation": "drew the classes' outlines",
    "multi_label": "told which labels {thing} shows",
}

_COMPARES = {
    "background as a class": (
        "“Background as a class” is how benchmarks with a background class (Pascal VOC) "
        "and `evaluate`'s mean_iou without `ignore_index=0` count: the background, "
        "mostly large and easy, lifts the means."
    ),
    "true background pixels left out": (
        "“True background pixels left out” is `evaluate`'s mean_iou with `ignore_index=0`, as the "
        "Hugging Face tutorials on sidewalk-semantic and ADE20K print it: no false alarm on "
        "background costs anything, and the mean IoU counts background as a class of IoU 0 as "
        "soon as one pixel was called so."
    ),
}


def headline_sentence(evaluation: Evaluation) -> str:
    """Return the result in one sentence."""
    score = evaluation.headline
    thing = "an image" if evaluation.example_word == "image" else "a tile"
    done = _DONE[evaluation.task].format(thing=thing)
    return (
        f"{_whom(evaluation)} the model {done} with a {WORDS.get(score.name, score.name)} of "
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
    if evaluation.task != "segmentation":
        return words
    if evaluation.background is None:
        return f"{words} No class is left out of it."
    return f"{words} The background ({evaluation.background}) is left out of it."


def definition_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """Return the same counts as ours and others define the figures, a row a definition.

    Empty where no other definition gives other figures.
    """
    names = " ".join(row.name for row in evaluation.classes)
    return [
        {
            "definition": definition.name,
            "mean accuracy": number(_named(definition, "mean_accuracy").value, 3),
            "mean IoU": number(_named(definition, "mean_iou").value, 3),
            f"IoU of {names}": " ".join(number(score.value) for score in definition.classes),
        }
        for definition in evaluation.definitions
    ]


def definition_sentences(evaluation: Evaluation) -> str:
    """Return which definition a score from elsewhere compares with; empty where all agree."""
    if not evaluation.definitions:
        return ""
    said = [_COMPARES[definition.name] for definition in evaluation.definitions[1:]]
    ours = "Ours: background is no class of the means, and its pixels count."
    return " ".join(["Compare a score only with one of the same definition.", ours, *said])


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


def _named(definition: Definition, name: str) -> Score:
    return next(score for score in definition.scores if score.name == name)


def _whom(evaluation: Evaluation) -> str:
    if evaluation.example_word == "image":
        size = counted(evaluation.examples, "image")
    else:
        tiles, slides = counted(evaluation.examples, "tile"), counted(evaluation.slides, "slide")
        size = f"{tiles} of {slides}"
    unit, count = evaluation.unit, evaluation.patients
    if evaluation.estimate == REGIONS:
        return f"On other regions of a {one_of(unit)} it has learned from ({size})"
    if evaluation.split == "train":
        return f"On the very {unit} it has learned from ({size})"
    if evaluation.split == "validation":
        return f"On {so_many(count, unit)} whose figures chose the weights ({size})"
    if sites := UNSEEN_SITES.get(evaluation.estimate):
        return f"On {so_many(count, unit)} of {sites} not seen in training ({size})"
    return f"On {so_many(count, unit, which='unseen')} ({size})"


_DISTANCES = {
    "mahalanobis": "the Mahalanobis distance to the nearest class (Lee et al. 2018)",
    "knn": "the distance to the k-th nearest training example (Sun et al. 2022)",
}


def anomaly_sentences(evaluation: Evaluation, found: AnomalyFound) -> str:
    """Return what the anomaly score is, what is usual for it, and what its AUROC means."""
    things = f"{evaluation.example_word}s"
    caveat = (
        "The network has learnt from that class all the same, so a class that is new to it too is "
        "noticed less well. "
        if found.classes_known
        else ""
    )
    return (
        f"How unlike the training {things} one is, is told by {_DISTANCES[found.score]}, measured "
        f"on what the network's head sees of {found.examples:,} of them. Its limit is passed by "
        f"1 % of the training {things} when their own {one_of(evaluation.unit)} is left out, and "
        f"by {percent(found.beyond)} of the {things} measured here. For each class: how well its "
        f"{things} would be told from the others' by a score that does not know the class (1: "
        f"always, 0.5: not at all). {caveat}A class that looks like a known one is not noticed."
    )


def percent(score: Score) -> str:
    """Return a share as a percentage with its interval."""
    if score.value is None:
        return "an unknown share"
    said = f"{score.value:.1%}"
    if score.low is None or score.high is None:
        return said
    return f"{said} ({score.low:.1%} to {score.high:.1%})"
