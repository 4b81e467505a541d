"""Compiled forward passes: the same arithmetic in fewer and larger kernels (torch.compile).

Compiled is what nearly all of a step is spent in, while it learns, for batches of one size. All
else runs as it always does: validation and prediction, so that what is judged is what is saved, to
the last bit; the last, smaller batch of an epoch, because other shapes would be compiled anew; and
the optimiser, which is one kernel by itself.

A model is not wrapped: the forward passes of its parts are exchanged while a loss is computed. So
its tensors keep their names, and checkpoints, averages and adapters know nothing of it.
"""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from wsi_vit.errors import TrainingError
from wsi_vit.models.model import Model
from wsi_vit.training.section import Compile

_BACKEND = "inductor"


class Compiled:
    """The compiled forward passes of a model's parts; what compiles is the first call of each.

    Torch keeps what it compiled on disk (`TORCHINDUCTOR_CACHE_DIR`; where the command line runs,
    `compiled` in the folder of runs), by code, shapes and machine, so that a resumed run and the
    next one of the same kind trace a network, but do not compile it again.
    """

    def __init__(self, model: Model, how: Compile, device: torch.device) -> None:
        if how == "reduce-overhead" and device.type != "cuda":
            raise TrainingError(
                "CUDA graphs need a CUDA device",
                got=f"training.compile reduce-overhead on {device.type}",
                known=["none", "default", "max-autotune"],
                remedy="Choose one of these here",
            )
        # Torch compiles a function for eight kinds of input, counting those of earlier runs.
        torch.compiler.reset()
        self._parts = [
            (part, torch.compile(part.forward, mode=how, dynamic=False, backend=_BACKEND))
            for part in model.compiled_parts()
        ]

    @contextmanager
    def worn(self) -> Generator[None]:
        """Let the parts compute by their compiled forward passes."""
        parts: list[tuple[Any, Any]] = self._parts
        try:
            for part, forward in parts:
                part.forward = forward
            with warnings.catch_warnings():
                # Tracing looks at a gradient where one part takes what another gave.
                warnings.filterwarnings(
                    "ignore", message=r"The \.grad attribute of a Tensor that is"
                )
                yield
        finally:
            for part, _ in parts:
                part.__dict__.pop("forward", None)


@contextmanager
def compiler_errors_told() -> Generator[None]:
    """Say in our words why a network cannot be compiled.

    Raises:
        TrainingError: There is no compiler, or it fails.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        raise TrainingError(
            "This network cannot be compiled on this machine",
            got=f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}",
            remedy=(
                "Install a C++ compiler and Python's headers (Debian: g++ python3-dev); for a GPU "
                "Triton as well, which torch's CUDA wheels bring. Or say `compile: none`"
            ),
        ) from error
