"""What training steps of several models cost: seconds, arithmetic, memory; all in one run.

The steps are those of the loop (`Engine.step`: augmentation, forward, backward, clipping, AdamW) on
images of noise that lie ready, so that no disk is measured. The models take turns, in an order that
changes from round to round, so that a change of the machine's load meets all alike.
"""

import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from wsi_vit.datasets.augmentation.section import Augmentation
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.sections import AnyModel
from wsi_vit.training.batches import Loaded
from wsi_vit.training.engine import Engine
from wsi_vit.training.section import TrainingSection

_WARM_UP, _IN_MEMORY = 2, 3
"""Steps that are not counted, and steps after which memory has reached its peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model and how it is trained: what its step is made of."""

    model: AnyModel
    labels: LabelMap
    training: TrainingSection
    augmentation: Augmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a candidate's training costs."""

    seconds: tuple[float, ...]
    """Of one step, a round each; on a CPU of one thread, its own time."""
    gflops: float
    """1e9 operations (a multiplication and an addition are two) of one image's forward pass."""
    peak_bytes: int
    """CUDA: the most that was allocated. CPU: what a process grew by from before the model was made
    to the peak of its steps."""
    parameters: int


def measure_costs(candidates: Mapping[str, Candidate], *, rounds: int) -> dict[str, Cost]:
    """Measure training steps of several candidates side by side.

    The device is Accelerate's, as in training. Random numbers and weights that are drawn on the way
    are of no consequence; the caller's generators are left as they were.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), _one_thread_on_a_cpu():
        prepared = {name: _Prepared(candidate) for name, candidate in candidates.items()}
        seconds: dict[str, list[float]] = {name: [] for name in prepared}
        for number in range(-_WARM_UP, rounds):
            for name in prepared if number % 2 else reversed(prepared):
                taken = prepared[name].timed_step()
                if number >= 0:
                    seconds[name].append(taken)
        return {
            name: Cost(
                seconds=tuple(seconds[name]),
                gflops=_gflops(item.model),
                peak_bytes=_peak_bytes(item.candidate, item.engine.device),
                parameters=item.model.parameter_count,
            )
            for name, item in prepared.items()
        }


class _Prepared:
    """A candidate's model on its device, with a batch at hand."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        section = candidate.model
        self.model = build_model(section, candidate.labels, section.task)
        self.engine = Engine(self.model, candidate.training, candidate.augmentation)
        self.engine.begin_epoch(candidate.training.epochs)
        self._batch = _noise(self.model, candidate.training.step_images)
        self._clock = _clock_of(self.engine.device)

    def timed_step(self) -> float:
        """Take a step; return its seconds."""
        began = self._clock()
        self.engine.step(self._batch, epoch=1)  # ends with a look at the loss, which waits for it
        return self._clock() - began


def _noise(model: NetworkModel, count: int) -> Loaded:
    side = model.input_px
    shapes = {"segmentation": (count, side, side), "multi_label": (count, len(model.labels))}
    values = 2 if model.task == "multi_label" else len(model.labels)
    batch = {
        "images": torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8),
        "targets": torch.randint(0, values, shapes.get(model.task, (count,))),
    }
    keys = tuple(f"noise/{number}" for number in range(count))
    return Loaded(number=0, batch=batch, keys=keys)  # type: ignore[arg-type]


def _clock_of(device: torch.device) -> Callable[[], float]:
    if device.type == "cpu":
        return time.process_time

    def after_kernels() -> float:
        """Return the time once the GPU has done what was asked of it so far."""
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return after_kernels


@contextmanager
def _one_thread_on_a_cpu() -> Generator[None]:
    """Let a CPU's step take one thread: its time then means the same on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _gflops(model: NetworkModel) -> float:
    """Count the operations of one image's scores; attention is counted only where it is unfused."""
    side, device = model.input_px, next(model.parameters()).device
    image = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=device)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.eval().scores(image)
    return counter.get_total_flops() / 1e9


def _peak_bytes(candidate: Candidate, device: torch.device) -> int:
    """Measure in a process of its own, where no other model has left its traces."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        measure = _grown_by if device.type == "cpu" else _allocated
        return pool.submit(measure, candidate).result()


def _grown_by(candidate: Candidate) -> int:
    torch.set_num_threads(1)
    with suppress(OSError):  # a kernel that forbids it counts from the start of the process
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _resident("VmRSS")
    _take_steps(candidate)
    return _resident("VmHWM") - before


def _allocated(candidate: Candidate) -> int:
    torch.cuda.reset_peak_memory_stats()
    _take_steps(candidate)
    return torch.cuda.max_memory_allocated()


def _take_steps(candidate: Candidate) -> None:
    prepared = _Prepared(candidate)
    for _ in range(_IN_MEMORY):
        prepared.timed_step()


def _resident(name: str) -> int:
    """Return a figure of this process's resident memory in bytes; Linux tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise AssertionError(f"the kernel tells no {name}")
