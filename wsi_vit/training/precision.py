"""How many bits a forward pass is computed in, on the device that there is."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from wsi_vit.training.section import Precision

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def computed_in(asked: Precision, device: torch.device) -> Precision:
    """Return what a precision comes to on a device.

    Where a processor has no kernels for bf16, torch emulates it at a fraction of the speed of fp32
    (a fourteenth, measured for a ViT-S with AVX2). fp32 takes its place there: it has the same
    range and more digits, so whatever learns in bf16 learns in it.
    """
    if asked == "bf16" and device.type == "cpu" and not _has_bf16_kernels():
        return "fp32"
    return asked


def forward_context(asked: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Open the context of a forward pass outside of the training loop."""
    kind = _TYPES.get(computed_in(asked, device))
    return nullcontext() if kind is None else torch.autocast(device.type, kind)


def _has_bf16_kernels() -> bool:
    """Say whether oneDNN would compute a product of bf16 itself, by the question torch asks it."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
