"""The masked autoencoder as a model: its contract, its weights in other kinds, what it draws."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.contracts.model import LABELS, ModelContract, made_up_examples
from wsi_vit.errors import ModelError
from wsi_vit.labels import IGNORE_ID
from wsi_vit.models.building import build_model
from wsi_vit.models.load import load_model
from wsi_vit.models.model import Batch
from wsi_vit.models.pretraining.mae import Mae
from wsi_vit.models.sections import ClassifierSection, MaeSection, SegmenterSection, VitSection
from wsi_vit.models.start import ConfigStart, FolderStart
from wsi_vit.models.vit.transformer import sincos_positions

TINY = {"patch_px": 16, "width": 32, "depth": 2, "heads": 2, "mlp_width": 64}
SMALL: dict[str, Any] = {
    "input_px": 64,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
}


def made(options: dict[str, Any] | None = None, **section: Any) -> Mae:
    start = ConfigStart(options=TINY | (options or {}))
    built = build_model(MaeSection(**({"start": start} | SMALL | section)), LABELS, "pretraining")
    assert isinstance(built, Mae)
    return built


def begun(kind: type[Any], folder: Path, **section: Any) -> Any:
    start = FolderStart(path=folder)
    asked = kind(start=start, input_px=64, **section)
    return build_model(asked, LABELS, asked.task)


class MaeContract(ModelContract):
    """What differs from a model of classes: no target matters, and no class weighs anything."""

    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> Any:
        return made(self.options)

    def test_an_unknown_class_id_is_named_with_its_example(self, model: Any) -> None:
        with pytest.raises(ModelError, match=r"\[9\] in slide/0"):
            example = made_up_examples(model, count=1)[0]
            example.target[...] = 9
            model.collate([example])

    def test_a_batch_with_no_known_target_teaches_nothing(self, model: Any, batch: Batch) -> None:
        """It teaches all the same: nobody has to know what a tile shows."""
        unknown = torch.full_like(batch["targets"], IGNORE_ID)
        model.eval()
        loss = model.loss({"images": batch["images"], "targets": unknown})
        assert torch.equal(loss, model.loss(batch))

    def test_class_weights_change_the_loss_and_can_be_taken_back(
        self, model: Any, batch: Batch
    ) -> None:
        """They change nothing."""
        model.eval()
        plain = model.loss(batch)
        model.weigh_classes(torch.tensor([1.0, 5.0, 0.2]))
        assert torch.equal(model.loss(batch), plain)


class TestMae(MaeContract):
    pass


class TestMaeOfDinov2(MaeContract):
    options: ClassVar = {"layer_scale": 1.0, "mask_token": 1}


class TestMaeWithFixedPositions(MaeContract):
    options: ClassVar = {"positions": "sincos", "registers": 2}


def test_positions_are_sines_and_cosines_and_never_learn() -> None:
    model = made()
    positions = model.network.encoder.embedding.positions

    assert torch.allclose(positions[0, 1:], sincos_positions(4, 4, 32).float())
    assert positions[0, 0].abs().max() == 0
    assert not positions.requires_grad
    assert id(positions) not in {id(p) for p in model.backbone_parameters()}


def test_another_part_is_hidden_each_time_in_training_and_the_same_one_in_evaluation() -> None:
    model = made()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    batch: Batch = {"images": images, "targets": torch.zeros(2, dtype=torch.int64)}

    learning = {model.train().loss(batch).item() for _ in range(4)}
    judging = {model.eval().loss(batch).item() for _ in range(4)}

    assert len(learning) == 4
    assert len(judging) == 1
    both, second = model.reconstruct(images).mask, model.reconstruct(images[1:]).mask
    assert torch.equal(both[1:], second)
    assert not torch.equal(both[0], both[1])


@pytest.mark.parametrize("options", [{}, {"layer_scale": 0.5}, {"positions": "sincos"}])
def test_a_vit_and_a_segmenter_begin_with_its_encoder(
    options: dict[str, Any], tmp_path: Path
) -> None:
    model = made(options).eval()
    model.save(tmp_path)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    wanted = model.network.encoder(model._pixels(images))

    for kind in (VitSection, SegmenterSection):
        found = begun(kind, tmp_path).eval()
        assert torch.allclose(found.network.encoder(found._pixels(images)), wanted, atol=1e-5)


def test_a_classifier_of_transformers_begins_with_its_encoder(tmp_path: Path) -> None:
    model = made().eval()
    model.save(tmp_path)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)

    found = begun(ClassifierSection, tmp_path).eval()

    theirs = found.network.vit(found._pixels(images)).last_hidden_state
    assert torch.allclose(theirs, model.network.encoder(model._pixels(images)), atol=1e-5)
    assert model.transformers_class == "ViTModel"


def test_it_goes_on_from_a_vit_that_was_trained_otherwise(tmp_path: Path) -> None:
    start = ConfigStart(options=TINY)
    build_model(VitSection(start=start, input_px=64), LABELS, "classification").save(tmp_path)

    model = build_model(
        MaeSection(start=FolderStart(path=tmp_path), **SMALL), LABELS, "pretraining"
    )

    assert isinstance(model, Mae)
    assert model.reconstruct(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).error.isfinite().all()


def test_visible_patches_are_shown_as_they_are_and_nothing_is_told_of_noise() -> None:
    model = made().eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)

    found = model.reconstruct(images)

    shown = ~found.mask[:, None].expand_as(images)
    assert torch.equal(found.drawn[shown], images[shown])
    assert found.mask.float().mean(dim=(1, 2)).tolist() == [0.75, 0.75]
    assert torch.allclose(found.mean_colour_error, torch.ones(2), atol=0.02)
    assert (found.error > 0.9).all()


def test_the_mean_colour_of_what_is_seen_tells_most_of_an_image_of_one_colour() -> None:
    model = made().eval()
    pink = torch.tensor([230, 120, 180]).view(1, 3, 1, 1)
    images = (pink + torch.randint(-5, 6, (2, 3, 64, 64))).to(torch.uint8)
    # Coarse: the model's normalisation gives a faint grey a colour of its own.
    grey = torch.randint(0, 256, (2, 1, 64, 64)).expand(-1, 3, -1, -1).to(torch.uint8)

    assert (model.reconstruct(images).mean_colour_error < 0.02).all()
    assert (model.reconstruct(grey).mean_colour_error > 0.9).all()


def test_it_learns_to_draw_stripes() -> None:
    torch.manual_seed(0)
    model = made()
    stripes = np.tile(np.arange(64) % 16 * 16, (64, 1)).astype(np.uint8)
    image = torch.from_numpy(np.stack([stripes, stripes.T[::-1].copy(), stripes]))[None]
    batch: Batch = {"images": image.repeat(4, 1, 1, 1), "targets": torch.zeros(4).long()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 5e-3)

    for _ in range(60):
        optimiser.zero_grad()
        model.train().loss(batch).backward()
        optimiser.step()

    assert model.eval().loss(batch) < 0.2


def test_the_decoder_is_saved_beside_the_encoder(tmp_path: Path) -> None:
    model = made().eval()
    model.save(tmp_path)

    again = load_model(tmp_path)

    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert isinstance(again, Mae)
    assert torch.equal(again.reconstruct(images).drawn, model.reconstruct(images).drawn)


def test_what_cannot_be_hidden_is_refused_with_what_can() -> None:
    with pytest.raises(ModelError, match="Patches that overlap cannot be hidden"):
        made(stride_px=8)
    with pytest.raises(ModelError, match="only one patch"):
        made(input_px=16)
    with pytest.raises(ModelError, match="not filled by patches"):
        made(input_px=72)
    with pytest.raises(ValidationError, match="decoder_width 16 is not shared by 3 heads"):
        made(decoder_heads=3)
    with pytest.raises(ValidationError, match="token_learner"):
        made(token_learner={"after_block": 1, "tokens": 2})
