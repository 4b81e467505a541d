"""Segmenter: whose weights it has, where its cells lie, what it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows)
from pydantic import TypeAdapter, ValidationError
from torch import nn

from tests.contracts.model import LABELS
from tests.models.test_card import FACTS
from tests.models.test_contract import TINY_DINO, TINY_OURS
from tests.models.test_maskformer import discs, mean_iou, train
from tests.models.test_vit_weights import published, sized
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.card import card_text
from wsi_vit.models.load import load_model
from wsi_vit.models.sections import AnyModel, SegmenterSection, VitSection
from wsi_vit.models.start import ConfigStart, FolderStart

MASKS = {"kind": "mask_transformer", "blocks": 2}
LEARNER = {"after_block": 1, "tokens": 4}
BOTH = pytest.mark.parametrize("decoder", ["linear", MASKS], ids=["linear", "masks"])


def make(options: dict[str, Any] | None = None, labels: LabelMap = LABELS, **section: Any) -> Any:
    torch.manual_seed(0)
    start = ConfigStart(options=TINY_OURS | {"patch_px": 8} | (options or {}))
    said = SegmenterSection.model_validate({"start": start, "input_px": 64} | section)
    return build_model(said, labels, "segmentation")


def from_folder(folder: Path, labels: LabelMap = LABELS, **section: Any) -> Any:
    said = {"start": FolderStart(path=folder), "input_px": 64} | section
    return build_model(SegmenterSection.model_validate(said), labels, "segmentation")


def unlike(one: Any, two: Any) -> set[str]:
    """Return which parts of two networks differ."""
    mine, theirs = one.network.state_dict(), two.network.state_dict()
    return {
        name.split(".")[0]
        for name in mine.keys() | theirs.keys()
        if name not in mine or name not in theirs or mine[name].shape != theirs[name].shape
        or (mine[name] != theirs[name]).any()
    }  # fmt: skip


@pytest.mark.parametrize("input_px", [56, 84])
@pytest.mark.parametrize("form", ["vit", "deit", "dinov2 with registers"])
def test_its_encoder_is_the_checkpoints(form: str, input_px: int, tmp_path: Path) -> None:
    theirs = published(form, tmp_path)
    ours = from_folder(tmp_path, input_px=input_px).eval()
    pixels = torch.randn(2, 3, input_px, input_px)
    with torch.no_grad():
        expected = theirs.base_model(pixels, **sized(theirs)).last_hidden_state
        patches = ours.network.encoder.dense(pixels)
    torch.testing.assert_close(patches, expected[:, -patches.shape[1] :], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_it_begins_from_a_classifier_of_ours(positions: str, tmp_path: Path) -> None:
    start = ConfigStart(options=TINY_OURS | {"positions": positions})
    classifier = build_model(VitSection(start=start, input_px=64), LABELS, "classification")
    classifier.save(tmp_path)
    pixels = torch.randn(1, 3, 64, 64)
    expected = classifier.eval().network.encoder(pixels)
    assert torch.equal(from_folder(tmp_path).eval().network.encoder(pixels), expected)


@BOTH
def test_another_segmenter_keeps_its_decoder_where_classes_and_decoder_are_the_same(
    decoder: Any, tmp_path: Path
) -> None:
    model = make(decoder=decoder, token_learner=LEARNER)
    model.save(tmp_path)
    same = {"decoder": decoder, "token_learner": LEARNER}
    assert unlike(from_folder(tmp_path, **same), model) == set()
    other = {"kind": "mask_transformer", "blocks": 1}
    assert "decoder" in unlike(from_folder(tmp_path, **same | {"decoder": other}), model)
    renamed = LabelMap(
        classes=(*LABELS.classes[:2], LABELS.classes[2].model_copy(update={"name": "fat"}))
    )
    assert "decoder" in unlike(from_folder(tmp_path, renamed, **same), model)
    two = from_folder(tmp_path, LabelMap(classes=LABELS.classes[:2]), **same)
    assert two.scores(discs(1, seed=0)["images"]).shape == (1, 2, 64, 64)


def test_a_classifier_begins_from_a_segmenters_encoder(tmp_path: Path) -> None:
    model = make({"positions": "sincos"})
    model.save(tmp_path)
    section = VitSection(start=FolderStart(path=tmp_path), input_px=64)
    classifier: Any = build_model(section, LABELS, "classification")
    pixels = torch.randn(1, 3, 64, 64)
    expected = model.eval().network.encoder(pixels)
    assert torch.equal(classifier.eval().network.encoder(pixels), expected)


def test_a_saved_one_without_some_of_its_tensors_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make(decoder=MASKS).save(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    save_file({n: t for n, t in whole.items() if "of_classes" not in n}, path)
    with pytest.raises(ModelError, match=r"1 missing \(decoder.of_classes.weight\)"):
        type(make()).restored(make(decoder=MASKS).section, tmp_path, LABELS)
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path)


def test_cells_of_overlapping_patches_lie_where_the_patches_do() -> None:
    """Patch n of 16 px, one every 8, has its middle at 8 (n + 1)."""
    model = make({"patch_px": 16}, stride_px=8)
    column = torch.arange(7.0)  # what each patch says
    said = column.repeat(7)[None, :, None].expand(1, -1, 3)
    model.network.decoder.forward = lambda _patches: said
    row = model.maps(torch.zeros(1, 3, 64, 64))[0, 0, 20]
    middles = (row[7:56:8] + row[8:57:8]) / 2
    torch.testing.assert_close(middles[1:-1], column[1:-1])
    assert row[:8].unique().tolist() == [0]
    assert row[56:].unique().tolist() == [6]
    assert len(row) == 64


def test_cosines_that_are_normed_over_two_classes_teach_nothing() -> None:
    """Why `MaskTransformer` scales them instead."""
    cosines = torch.tensor([[0.5, -0.3]], requires_grad=True)
    nn.LayerNorm(2)(cosines).square().sum().backward()
    normed = nn.LayerNorm(2)(cosines)
    (gradient,) = torch.autograd.grad(F.cross_entropy(normed, torch.tensor([1])), cosines)
    assert gradient.abs().max() < 1e-3
    scaled = 10 * cosines
    (gradient,) = torch.autograd.grad(F.cross_entropy(scaled, torch.tensor([1])), cosines)
    assert gradient.abs().max() > 1


@torch.no_grad()
def test_mask_logits_are_scaled_cosines_and_an_offset() -> None:
    decoder, patches = make(decoder=MASKS).network.decoder, torch.randn(2, 64, 32)
    cosines = decoder(patches) / 10
    assert cosines.shape == (2, 64, 3)
    assert cosines.abs().max() <= 1
    decoder.log_scale.fill_(torch.tensor(3.0).log())
    decoder.offsets.copy_(torch.tensor([0.0, 1.0, -2.0]))
    torch.testing.assert_close(decoder(patches), 3 * cosines + decoder.offsets)


@BOTH
def test_the_loss_is_the_mean_over_known_pixels_by_their_weights(decoder: Any) -> None:
    model, batch = make(decoder=decoder).eval(), discs(3, seed=0)
    batch["targets"][:, :20] = 255
    weights = torch.tensor([0.5, 2.0, 1.0])
    model.weigh_classes(weights)
    expected = F.cross_entropy(
        model.logits(batch["images"]), batch["targets"], weight=weights, ignore_index=255
    )
    torch.testing.assert_close(model.loss(batch), expected)


def test_maps_are_enlarged_once_and_then_made_probabilities() -> None:
    model, images = make().eval(), discs(2, seed=0)["images"]
    coarse = model.network(model._pixels(images))
    assert coarse.shape == (2, 3, 8, 8)
    full = F.interpolate(coarse, size=(64, 64), mode="bilinear").softmax(1)
    torch.testing.assert_close(model.scores(images), full)


@pytest.mark.parametrize(
    "section",
    [{}, {"decoder": MASKS}, {"token_learner": LEARNER}],
    ids=["linear", "masks", "learner"],
)
def test_it_learns_discs(section: Any) -> None:
    model = make(**section)
    train(model, discs(32, seed=0), steps=100)
    assert mean_iou(model.eval(), discs(16, seed=1)) > 0.65  # background alone: 0.3


def test_an_encoder_that_does_not_learn_rests() -> None:
    model = make(tuning="head", drop_path=0.5, token_learner=LEARNER, decoder=MASKS).train()
    learning = {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"encoder", "fuser", "decoder"}
    inside = [n for n, p in model.network.encoder.named_parameters() if p.requires_grad]
    assert all(name.startswith("token_learner.") for name in inside)
    assert not model.network.encoder.blocks.training
    assert list(model.backbone_parameters()) == []


def test_mixed_precision_scores_and_losses_stay_close() -> None:
    model, batch = make(TINY_DINO, decoder=MASKS).eval(), discs(2, seed=0)
    with torch.no_grad():
        exact = model.loss(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough, scores = model.loss(batch), model.scores(batch["images"])
            logits = make().logits(batch["images"])
    assert rough.dtype == scores.dtype == logits.dtype == torch.float32  # enlarged as such
    assert abs(rough - exact) < 0.05 * exact


@pytest.mark.parametrize(
    ("section", "options", "told"),
    [
        ({"input_px": 68}, {}, r"input_px 68 is not filled.*64 or 72"),
        ({"stride_px": 9}, {}, "stride_px 9 leaves pixels"),
        ({}, {"heads": 3}, "width 32 is not shared by 3 heads"),
        ({"token_learner": {"after_block": 4, "tokens": 2}}, {}, "after_block 4 of 3 blocks"),
        ({"tuning": {"last_blocks": 9}}, {}, "fewer blocks"),
        ({}, {"hedas": 3}, r"Unknown options.*hedas.*heads"),
    ],
)
def test_parts_that_do_not_fit_are_refused(section: Any, options: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        make(options, **section)


def test_starts_that_hold_no_vision_transformer_are_refused(tmp_path: Path) -> None:
    from transformers import SwinConfig

    SwinConfig().save_pretrained(tmp_path / "swin")
    with pytest.raises(ModelError, match="cannot take this architecture"):
        from_folder(tmp_path / "swin")
    make(token_learner=LEARNER).save(tmp_path / "learner")
    with pytest.raises(ModelError, match="TokenLearner of its own"):
        from_folder(tmp_path / "learner")


@pytest.mark.parametrize("decoder", ["conv", {"kind": "mask_transformer", "blocks": 0}])
def test_a_decoder_that_is_none_is_refused(decoder: Any) -> None:
    said = {"kind": "segmenter", "start": {"kind": "config"}, "decoder": decoder}
    with pytest.raises(ValidationError, match="decoder"):
        TypeAdapter[Any](AnyModel).validate_python(said)


def test_another_task_is_refused_with_the_kinds_that_do_it() -> None:
    section = SegmenterSection(start=ConfigStart(), input_px=64)
    with pytest.raises(ModelError, match=r"one class a pixel.*`kind: classifier`"):
        build_model(section, LABELS, "classification")


def test_its_card_says_what_it_is_and_who_reads_it() -> None:
    text = card_text(make(decoder=MASKS), FACTS)
    assert "Architecture: segmenter, mask transformer" in text
    assert "transformers has no class for this network" in text
