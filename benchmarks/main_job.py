"""How long `make demo` takes on a fresh folder, and again when nothing changed.

    python -m benchmarks.main_job [--quick] [--json]

The goals (two CPU cores, after installation): at most 360 s, then at most 60 s. `--quick` times the
first call only.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def demo(folder: Path) -> tuple[float, str]:
    """Run `wsi-vit demo` as a user would; return its seconds and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "wsi_vit", "demo", "--out", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - started, done.stdout


def scores(folder: Path) -> dict[str, float | None]:
    """Return each demo model's headline on held-out patients."""
    found = {}
    for path in sorted(folder.glob("demo_*/*/metrics.json")):
        headline = json.loads(path.read_text())["headline"]
        found[f"{path.parts[-3]} {headline['name']}"] = headline["value"]
    return found


def measure(*, quick: bool) -> dict[str, Any]:
    """Time both calls in one folder that is thrown away."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "demo"
        first_s, _ = demo(folder)
        stages = json.loads((folder / "stages.json").read_text())
        second_s, again = (None, "") if quick else demo(folder)
        return {
            "benchmark": "main_job",
            "first_s": round(first_s, 1),
            "second_s": None if second_s is None else round(second_s, 1),
            "stage_s": stages,
            "scores": scores(folder),
            "skipped": again.count("skipped"),
            "quick": quick,
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}, no GPU used",
            "date": datetime.now(UTC).date().isoformat(),
        }


def main() -> None:
    """Measure, print, and keep a full result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first call only")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args()
    result = measure(quick=options.quick)
    for key, value in result.items():
        print(f"{key:<12} {value}")
    if not options.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "main_job.json").write_text(json.dumps(result, indent=1) + "\n")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
