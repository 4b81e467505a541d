"""What is told of waiting and working: shares, never seconds."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.small import PLAIN, Memory, Small, section, shades
from wsi_vit.datasets.example import Example
from wsi_vit.models.model import Batch
from wsi_vit.training.loop import fit
from wsi_vit.training.pace import Pace
from wsi_vit.training.records import Epoch

NAP_S = 0.03


class SlowImages(Memory):
    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        time.sleep(NAP_S)
        return super().__getitems__(indices)


class SlowModel(Small):
    def loss(self, batch: Batch) -> Tensor:
        time.sleep(NAP_S)
        return super().loss(batch)


def epoch_of(model: Small, images: Memory, judged: Memory, folder: Path) -> Epoch:
    # The first epoch of a process pays for what torch sets up once.
    training = section(epochs=2)
    return list(fit(model, images, judged, training=training, augmentation=PLAIN, folder=folder))[1]


def test_slow_images_are_told_from_a_slow_model(tmp_path: Path) -> None:
    plain, judged = shades(16), shades(6, seed=1)
    slow = SlowImages(plain.examples), SlowImages(judged.examples)

    waiting = epoch_of(Small(), *slow, tmp_path / "images")
    working = epoch_of(SlowModel(), plain, judged, tmp_path / "model")

    assert waiting.data_wait_share > 0.6 > waiting.device_busy_share
    assert working.device_busy_share > 0.6 > working.data_wait_share
    for epoch in (waiting, working):
        assert 0 < epoch.data_wait_s + epoch.device_busy_s <= epoch.seconds


def test_validation_counts_as_well(tmp_path: Path) -> None:
    epoch = epoch_of(Small(), shades(4), SlowImages(shades(40).examples), tmp_path)
    assert epoch.data_wait_share > 0.5


def test_what_was_taken_is_not_taken_again() -> None:
    pace = Pace(torch.device("cpu"))
    with pace.working():
        time.sleep(0.001)
    assert pace.taken().device_busy_s > 0
    assert pace.taken().device_busy_s == 0


def test_work_that_fails_was_work() -> None:
    pace = Pace(torch.device("cpu"))
    with pytest.raises(ValueError, match="too large"), pace.working():
        raise ValueError("too large")
    assert pace.taken().device_busy_s > 0
