"""Blocks that forget all but their input: the same learning in less memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tests.training.small import LABELS, PLAIN, section, weights_of
from tests.training.test_models import VIT, halves, make
from wsi_vit.errors import ModelError
from wsi_vit.models.building import build_model
from wsi_vit.models.network import NetworkModel
from wsi_vit.models.sections import ClassifierSection, VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.training.engine import Engine
from wsi_vit.training.loop import fit

ABLE = ["our vit", "vit", "adapted vit", "masked vit", "segmenter", "eomt", "segformer"]


def run(kind: str, folder: Path, **changes: Any) -> tuple[list[float], bytes]:
    """Return the losses of two epochs, and the weights they lead to."""
    model, masks = make(kind, 0), kind in ("segmenter", "eomt", "segformer")
    epochs = fit(
        model,
        halves(8, masks=masks),
        halves(4, masks=masks),
        training=section(epochs=2, learning_rate=1e-3, **changes),
        augmentation=PLAIN,
        folder=folder,
    )
    return [epoch.train_loss for epoch in epochs], weights_of(model)


def kept_bytes(model: NetworkModel, images: Tensor, targets: Tensor) -> int:
    """Return the bytes that autograd keeps of a loss for the backward pass, weights left out."""
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss({"images": images, "targets": targets})
    loss.backward()
    return sum(kept.values())


@pytest.mark.parametrize("kind", ABLE)
def test_losses_and_weights_are_the_same_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    # All of these drop something at random: inputs, images of a block, attention, or patches.
    assert run(kind, tmp_path / "a", recompute="blocks") == run(kind, tmp_path / "b")


OURS = VitSection(
    start=ConfigStart(options={"width": 16, "depth": 6, "heads": 2, "patch_px": 8}), input_px=64
)
THEIRS = ClassifierSection(
    start=ConfigStart(options=VIT | {"num_hidden_layers": 6, "patch_size": 8}), input_px=64
)


@pytest.mark.parametrize("section_", [OURS, THEIRS], ids=["ours", "theirs"])
def test_less_is_kept_for_the_backward_pass(section_: VitSection | ClassifierSection) -> None:
    model = build_model(section_, LABELS, "classification").train()
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    targets = torch.tensor([0, 1, 0, 1])

    everything = kept_bytes(model, images, targets)
    model.recompute_blocks()
    inputs = kept_bytes(model, images, targets)
    model.remember_blocks()

    assert inputs < everything / 4
    assert kept_bytes(model, images, targets) == everything


def test_a_run_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = make("our vit", 0)
    engine = Engine(model, section(recompute="blocks"), PLAIN)
    assert all(block.forgets for block in model.network.encoder.blocks)

    engine.end()

    assert not any(block.forgets for block in model.network.encoder.blocks)


@pytest.mark.parametrize("kind", ["maskformer", "mask2former"])
def test_a_network_without_such_blocks_is_refused(kind: str) -> None:
    with pytest.raises(ModelError, match="no blocks that could be computed again"):
        Engine(make(kind, 0), section(recompute="blocks"), PLAIN)
