"""What a forward pass is computed in: the processor's kernels are what is pretended here."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.small import PLAIN, Small, section, shades
from wsi_vit.training import precision
from wsi_vit.training.loop import fit
from wsi_vit.training.precision import computed_in, forward_context
from wsi_vit.training.records import Epoch
from wsi_vit.training.section import Precision

CPU = torch.device("cpu")


def pretend(monkeypatch: pytest.MonkeyPatch, *, kernels: bool) -> None:
    monkeypatch.setattr(precision, "_has_bf16_kernels", lambda: kernels)


def learnt_in_bf16(model: Small, folder: Path) -> Epoch:
    asked = section(precision="bf16", epochs=1)
    images = shades(16), shades(6, seed=1)
    (epoch,) = fit(model, *images, training=asked, augmentation=PLAIN, folder=folder)
    return epoch


@pytest.mark.parametrize(
    ("kernels", "told", "kind"), [(True, "bf16", torch.bfloat16), (False, "fp32", torch.float32)]
)
def test_a_pass_is_computed_in_what_the_epoch_says(
    kernels: Any, told: str, kind: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, kernels=kernels)
    model, seen = Small(), set[torch.dtype]()
    model.head.register_forward_hook(lambda _, __, made: seen.add(made.dtype))

    epoch = learnt_in_bf16(model, tmp_path)

    assert epoch.precision == told
    assert seen == {kind}


def test_whoever_asked_for_bf16_in_vain_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, kernels=False)

    with caplog.at_level(logging.WARNING):
        learnt_in_bf16(Small(), tmp_path)

    assert "no kernels for bf16" in caplog.text


@pytest.mark.parametrize(
    ("asked", "device"),
    [("fp32", CPU), ("fp16", CPU), ("bf16", torch.device("cuda"))],
)
def test_only_bf16_on_a_processor_is_replaced(
    asked: Precision, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, kernels=False)

    assert computed_in(asked, device) == asked


def test_a_pass_outside_of_the_loop_has_the_same_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, numbers = torch.nn.Linear(4, 4), torch.ones(1, 4)
    found = []
    for kernels in (True, False):
        pretend(monkeypatch, kernels=kernels)
        with forward_context("bf16", CPU):
            found.append(layer(numbers).dtype)

    assert found == [torch.bfloat16, torch.float32]
