"""Where the time goes: what waits for images, and what keeps the device at work."""

import time
from collections import deque
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch

from wsi_vit.training.batches import Loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Seconds of some steps."""

    data_wait_s: float
    """In which nothing could be done for want of images."""
    device_busy_s: float
    """From the first to the last thing that the device did with them."""


class Pace:
    """Counts both while batches are taken, one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waited_s = self._busy_s = 0.0
        self._under_way: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    def timed(self, batches: Generator[Loaded]) -> Generator[Loaded]:
        """Yield batches, counting how long each was waited for; closes what it reads from."""
        with closing(batches):
            while True:
                began = time.perf_counter()
                loaded = next(batches, None)
                self._waited_s += time.perf_counter() - began
                if loaded is None:
                    return
                yield loaded

    @contextmanager
    def working(self) -> Generator[None]:
        """Count the device's time in a block; a card's by its own clock, for it works on later."""
        if self._device.type != "cuda":
            began = time.perf_counter()
            try:
                yield
            finally:
                self._busy_s += time.perf_counter() - began
            return
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        try:
            yield
        finally:
            last.record()
            self._under_way.append((first, last))

    def taken(self) -> Spent:
        """Return what was spent since the last call; a card's work under way counts next time."""
        while self._under_way and self._under_way[0][1].query():
            first, last = self._under_way.popleft()
            self._busy_s += first.elapsed_time(last) / 1e3
        spent = Spent(data_wait_s=self._waited_s, device_busy_s=self._busy_s)
        self._waited_s = self._busy_s = 0.0
        return spent
