"""Every benchmark, full, one after the other: `python -m benchmarks` (make bench)."""

import subprocess
import sys

NAMES = (
    "metrics",
    "tissue",
    "tiling",
    "shards",
    "reading",
    "training",
    "token_learner",
    "main_job",
)
"""Those that need nothing but this checkout and, for the tissue masks, the real slides;
`benchmarks.ebhi` needs a folder of weights and is called by itself."""


def main() -> None:
    """Run each in a process of its own; stop at the first that fails."""
    for name in NAMES:
        print(f"\n== benchmarks.{name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json"], check=True)


if __name__ == "__main__":
    main()
