"""What a comparison says, in sentences."""

from wsi_vit.evaluation.records import Score
from wsi_vit.evaluation.token_learner.records import MARGIN, Comparison
from wsi_vit.evaluation.units import so_many
from wsi_vit.evaluation.words import counted

TEST = (
    "Test: a paired bootstrap ({resamples:,} resamples) in which seeds and, apart from them, whole "
    "{unit} of the test split are drawn with replacement, the same for both sides (two crossed "
    "factors; Owen 2007); the interval is the 2.5th to the 97.5th percentile."
)


def result_sentence(found: Comparison) -> str:
    """Return what came out in one sentence."""
    learner, seeds = found.token_learner, counted(len(found.seeds), "seed")
    tokens = counted(learner.tokens, "learned token")
    verdict = "is above" if found.holds else "is not above"
    return (
        f"With {tokens} after block {learner.after_block} a training step is "
        f"{spoken(found.speed_up, 2)} times as fast, and accuracy on {whom(found)} changes by "
        f"{spoken(found.difference, 3, signed=True)}; the lower bound {verdict} {-MARGIN} "
        f"({seeds})."
    )


def whom(found: Comparison) -> str:
    """Return the test images, in words."""
    images = counted(found.examples, "test image")
    if found.units == found.examples:
        return images
    return f"{images} of {so_many(found.units, found.unit)}"


def how_tested(found: Comparison) -> str:
    """Return how the interval of the difference was made."""
    return TEST.format(resamples=found.resamples, unit=found.unit)


def how_measured(found: Comparison) -> str:
    """Return how speed and memory were measured."""
    return (
        f"Speed: median of {found.rounds} rounds in which both take a training step of "
        f"{counted(found.step_images, 'image')} in turn, {found.precision} on {found.device}; "
        f"{found.clock}. Memory: {found.memory}."
    )


def spoken(score: Score, digits: int, *, signed: bool = False) -> str:
    """Return a figure with its interval: `2.41 (95 % interval 2.30 to 2.52)`."""
    form = f"{'+' if signed else ''}.{digits}f"
    if score.value is None or score.low is None or score.high is None:
        return "unknown"
    return f"{score.value:{form}} (95 % interval {score.low:{form}} to {score.high:{form}})"


def side_rows(found: Comparison) -> list[dict[str, str]]:
    """Return both sides as rows of a table."""
    return [
        {
            "side": name,
            "accuracy": spoken(side.accuracy, 3),
            "steps/s": spoken(side.steps_per_s, 2),
            "GFLOPs an image": f"{side.gflops:.3f}",
            "peak memory, MiB": f"{side.peak_mib:,.0f}",
            "parameters": f"{side.parameters:,}",
        }
        for name, side in found.sides().items()
    ]
