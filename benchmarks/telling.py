"""How every benchmark is asked and tells: the same options, the same keys, the same place."""

import argparse
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_ARITHMETIC = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def options(doc: str | None, *, quick: str) -> argparse.ArgumentParser:
    """Return a parser with `--quick` (and what it means here) and `--json`."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    return parser


def processor() -> str:
    """Return the processor's name and its widest arithmetic, which decides most figures."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.machine()
    lines = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
    told = {key.strip(): value.strip() for key, value in lines.items()}
    widest = next((w for w in _ARITHMETIC if w in told.get("flags", "").split()), "no AVX2")
    return f"{told.get('model name', platform.machine())} ({platform.machine()}, {widest})"


def tell(
    name: str,
    figures: Mapping[str, Any],
    asked: argparse.Namespace,
    *,
    also: str = "no GPU used",
    kept_as: str | None = None,
) -> None:
    """Print the figures of a benchmark, and keep those of a full run.

    Args:
        name: The benchmark, as SPEED has it.
        figures: What was measured.
        asked: What `options` parsed.
        also: What to know of the machine beside its processors.
        kept_as: Name of the file of results, where it is not the benchmark's.
    """
    result = {
        "benchmark": name,
        **figures,
        "quick": asked.quick,
        "hardware": f"{os.cpu_count()} cores of {processor()}, {also}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:<{width}}  {value}")
    if not asked.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{kept_as or name}.json").write_text(json.dumps(result, indent=1) + "\n")
    if asked.json:
        print(json.dumps(result))
