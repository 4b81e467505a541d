"""What chance decides while training follows from (seed, epoch, step), so a resume repeats it."""

import hashlib
import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MASK = (1 << 63) - 1


def seed_of(*parts: int | str) -> int:
    """Return a 63-bit seed that any other parts would not share, the same on every machine."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") & _MASK


def seed_everything(*parts: int | str) -> None:
    """Seed torch (CPU and CUDA), numpy and random, which dropout and models draw from."""
    seed = seed_of(*parts)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # what a model may draw from


def generator_of(*parts: int | str) -> torch.Generator:
    """Return a generator of its own, on the CPU, so that it draws the same for every device."""
    return torch.Generator().manual_seed(seed_of(*parts))


def random_state() -> tuple[dict[str, Tensor], list[object]]:
    """Return the state of all global generators: tensors by name, and Python's as JSON."""
    version, inner, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys).copy())}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return tensors, [version, list(inner), gauss, name, position, has_gauss, cached]


def restore_random_state(tensors: dict[str, Tensor], plain: list[object]) -> None:
    """Take back what `random_state` returned; a card's state only where there is one."""
    version, inner, gauss, name, position, has_gauss, cached = plain
    random.setstate((version, tuple(inner), gauss))  # type: ignore[arg-type]
    state = (name, tensors["numpy"].numpy(), position, has_gauss, cached)
    np.random.set_state(state)  # type: ignore[arg-type]
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


@contextmanager
def repeatable(device: torch.device) -> Generator[None]:
    """Choose kernels that give the same bits each time; undone on leaving.

    On the CPU every kernel must (a run with the same number of threads gives the same weights). On
    CUDA the kernels of convolutions are fixed and not tried out, but sums by atomic additions (the
    gradient of interpolation, for one) may still differ in the last bit between two runs.
    """
    # A module whose attributes are properties, which type checkers cannot see.
    deterministic: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Filling memory that is written anyway would cost time in every step.
    deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = before[2]
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[3:]
