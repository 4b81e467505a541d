"""How long `make demo` takes on a fresh folder, and again when nothing changed.

    python -m benchmarks.main_job [--quick] [--json]

The goals (two CPU cores, after installation): at most 360 s, then at most 60 s. `--quick` times the
first call only. The scores are those on held-out patients, each beside the best trivial rule's.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import as_users_have
from benchmarks.telling import options, tell


def demo(folder: Path) -> tuple[float, str]:
    """Run `wsi-vit demo` as a user would; return its seconds and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "wsi_vit", "demo", "--out", str(folder)],
        capture_output=True,
        text=True,
        env=as_users_have(),
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - started, done.stdout


def scores(folder: Path) -> dict[str, float | None]:
    """Return each demo model's headline on held-out patients, and the best trivial rule's."""
    found = {}
    for path in sorted(folder.glob("demo_*/*/metrics.json")):
        told = json.loads(path.read_text())
        name = f"{path.parts[-3]} {told['headline']['name']}"
        found[name] = told["headline"]["value"]
        found[f"{name}, trivial"] = max(rule["value"] for rule in told["baselines"])
    return found


def measure(*, quick: bool) -> dict[str, Any]:
    """Time both calls in one folder that is thrown away."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "demo"
        first_s, _ = demo(folder)
        stages = json.loads((folder / "stages.json").read_text())
        second_s, again = (None, "") if quick else demo(folder)
        return {
            "first_s": round(first_s, 1),
            "second_s": None if second_s is None else round(second_s, 1),
            "stage_s": stages,
            "scores": scores(folder),
            "skipped": again.count("skipped"),
        }


def main() -> None:
    """Measure, print, and keep a full result."""
    asked = options(__doc__, quick="the first call only").parse_args()
    tell("main_job", measure(quick=asked.quick), asked)


if __name__ == "__main__":
    main()
