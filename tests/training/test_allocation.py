"""Freed memory that a training process keeps, counted by the page faults of asking again."""

import subprocess
import sys

import pytest

ASKING = """
import resource
import torch
from wsi_vit.training.allocation import keep_freed_memory
assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    several = [torch.ones(2**20) for _ in range(8)]  # 4 MiB each
for _ in range(3):
    step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_memory_that_was_freed_is_not_fetched_from_the_kernel_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKING], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 100  # without it 1,000 to 160,000, as glibc happens to adapt
