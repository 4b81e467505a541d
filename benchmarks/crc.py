"""Colorectal tiles of five diagnoses, five folds: our recipe beside a plain fine-tune.

    python -m benchmarks.crc --data DIR --start DIR [--seeds 2] [--parts] [--quick] [--json]

What `benchmarks.ebhi` does for biopsies, on the 850 tiles of the project's test data (`crc-5class`)
by benchmarks/recipes/crc_classification.yaml. Folds are stratified by class. Nobody says which
patient a tile is of, so each is a case of its own: intervals are over tiles, too narrow for
patients, and the figures are no estimate on unseen ones.
"""

from pathlib import Path

from benchmarks.ebhi import bench_of, classification, fold_options
from benchmarks.telling import options, tell

RECIPE = Path(__file__).parent / "recipes" / "crc_classification.yaml"


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = options(__doc__, quick="the first fold only")
    asked = fold_options(parser, runs="runs/benchmarks/crc").parse_args()
    figures = classification(bench_of(asked), str(RECIPE), asked)
    tell("crc", {**figures, "patients": "unknown"}, asked)


if __name__ == "__main__":
    main()
