"""What every test shares: one thread, no network, and the real files where they are at hand."""

import os
import sys
from pathlib import Path

if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    # Else every process that a test starts would compile torch, Prefect and MLflow anew, which
    # takes longer than what is tested. Nothing is written beside the sources all the same.
    kept = Path(__file__).parents[1] / ".pytest_cache" / "bytecode"
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(kept)
    sys.dont_write_bytecode = False

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    OMP_NUM_THREADS="1",
    MPLBACKEND="agg",
)

import pytest
import torch

torch.set_num_threads(1)

REAL_DATA = Path(os.environ.get("WSI_VIT_REAL_DATA", Path(__file__).parents[2] / "shared/data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real slides and images; tests that read it carry the mark `real`."""
    return REAL_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests on real files where those are not at hand, with the reason."""
    if REAL_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"no real files at {REAL_DATA}; set WSI_VIT_REAL_DATA")
    for item in items:
        if "real" in item.keywords:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End by saying how many tests read real files."""
    counts = {
        outcome: sum("real" in report.keywords for report in terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed", "skipped")
    }
    terminalreporter.write_line(
        f"Tests on real files: {counts['passed']} passed, {counts['failed']} failed, "
        f"{counts['skipped']} skipped (WSI_VIT_REAL_DATA={REAL_DATA})"
    )
