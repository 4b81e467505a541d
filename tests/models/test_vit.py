"""Our Vision Transformer, step by step."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from tests.contracts.model import LABELS, learns_the_red_channel
from tests.models.test_contract import TINY_DINO, TINY_OURS
from wsi_vit.errors import ModelError
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import AnyModel, VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.models.vit.additions import StochasticDepth
from wsi_vit.models.vit.architecture import Architecture
from wsi_vit.models.vit.transformer import (
    Attention,
    ConvPatches,
    Encoder,
    LinearPatches,
    interpolated,
    sincos_positions,
)
from wsi_vit.training.layers import layers_to_head


def make(options: dict[str, Any] | None = None, **section: Any) -> Any:
    torch.manual_seed(0)
    start = ConfigStart(options=TINY_OURS | (options or {}))
    said = VitSection.model_validate({"start": start, "input_px": 64} | section)
    return build_model(said, LABELS, "classification")


def tiny(**options: Any) -> Architecture:
    return Architecture.model_validate(TINY_OURS | {"image_px": 64} | options)


@pytest.mark.parametrize("stride_px", [None, 8, 12])
def test_a_matrix_and_a_convolution_project_patches_alike(stride_px: int | None) -> None:
    made = tiny(stride_px=stride_px)
    conv, linear = ConvPatches(made), LinearPatches(made)
    linear.load_state_dict(
        {"projection.weight": conv.projection.weight.flatten(1).detach()}
        | {"projection.bias": conv.projection.bias}
    )
    pixels = torch.randn(2, 3, 64, 80 if stride_px != 12 else 76)
    torch.testing.assert_close(linear(pixels), conv(pixels), rtol=1e-5, atol=1e-5)


def test_patches_come_row_by_row() -> None:
    linear = LinearPatches(tiny())
    pixels = torch.zeros(1, 3, 64, 64)
    pixels[0, :, 16:32, 48:64] = 1  # row 1, column 3 of 4
    tokens = linear(pixels) - linear.projection.bias
    assert tokens.abs().sum(-1)[0].nonzero().flatten().tolist() == [1 * 4 + 3]


def test_fixed_positions_are_the_formula() -> None:
    found = sincos_positions(3, 5, 8)[1 * 5 + 2]  # row 1, column 2; frequencies 1 and 1 / 100
    x, y = torch.tensor([2, 0.02]), torch.tensor([1, 0.01])
    expected = torch.cat([x.sin(), x.cos(), y.sin(), y.cos()])
    torch.testing.assert_close(found.float(), expected)


def test_positions_of_the_same_grid_stay_and_others_keep_the_class_tokens() -> None:
    made = tiny()
    positions = torch.randn(1, 17, 32)
    assert interpolated(positions, made, (4, 4)) is positions
    wider = interpolated(positions, made, (4, 6))
    assert wider.shape == (1, 25, 32)
    assert torch.equal(wider[:, :1], positions[:, :1])


@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_images_of_other_sizes_pass(positions: str) -> None:
    encoder = Encoder(tiny(positions=positions))
    assert encoder(torch.randn(1, 3, 96, 48)).shape == (1, 1 + 6 * 3, 32)


def test_attention_is_torchs_own() -> None:
    torch.manual_seed(0)
    ours, tokens = Attention(tiny()), torch.randn(2, 7, 32)
    theirs = nn.MultiheadAttention(32, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    expected, weights = theirs(tokens, tokens, tokens, average_attn_weights=False)
    torch.testing.assert_close(ours(tokens), expected)
    mixed, seen = ours.watched(tokens)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(seen, weights)


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"pool": "mean", "stride_px": 8},
        {"token_learner": {"after_block": 1, "tokens": 2}, "pool": "cls+mean"},
    ],
)
def test_watching_changes_no_logit_and_rows_of_attention_sum_to_one(section: Any) -> None:
    model = make(**section).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    seen = model.watched(images)
    torch.testing.assert_close(seen.logits, model.logits(images), rtol=0, atol=1e-6)
    assert len(seen.attention) == 3
    for weights in seen.attention:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    learner = section.get("token_learner")
    patches = 49 if "stride_px" in section else 16
    counts = [1 + patches] * 3 if learner is None else [17, 3, 3]
    assert [weights.shape[-1] for weights in seen.attention] == counts
    assert (seen.learned is None) == (learner is None)


def test_gradients_reach_the_attention_that_was_watched() -> None:
    model = make()
    seen = model.watched(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    found = torch.autograd.grad(seen.logits[0, 1], seen.attention)
    assert all(gradient.abs().sum() > 0 for gradient in found)


def test_stochastic_depth_leaves_whole_images_out_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    depth, branch = StochasticDepth(0.25), torch.ones(4000, 2, 3)
    found = depth.train()(branch)
    shares = found[:, 0, 0]
    assert torch.equal(found, shares[:, None, None].expand_as(found))
    assert shares.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert shares.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(depth.eval()(branch), branch)


def test_later_blocks_are_left_out_more_often() -> None:
    blocks = make(drop_path=0.2).network.encoder.blocks
    assert [block.depth.rate for block in blocks] == pytest.approx([0, 0.1, 0.2])


def test_a_head_on_the_mean_leaves_special_tokens_out() -> None:
    model = make(TINY_DINO | {"registers": 2, "patch_px": 16}, pool="mean").eval()
    tokens = torch.randn(2, 19, 32)
    torch.testing.assert_close(model.network.pooled(tokens), tokens[:, 3:].mean(1))


def test_layers_are_told_by_their_names() -> None:
    model = make()
    backbone = {id(p) for p in model.backbone_parameters()}
    names = [name for name, p in model.named_parameters() if id(p) in backbone]
    away = dict(zip(names, layers_to_head(names), strict=True))
    assert away["network.encoder.norm.weight"] == 0
    assert away["network.encoder.blocks.2.attention.qkv.weight"] == 1
    assert away["network.encoder.blocks.0.norm1.bias"] == 3
    embedding = {away[name] for name in names if ".embedding." in name}
    assert embedding == {4}


def test_what_is_new_learns_where_the_backbone_does_not() -> None:
    model = make(tuning="head", token_learner={"after_block": 1, "tokens": 2}).train()
    trained = {name.split(".")[1:3][-1] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"token_learner", "weight", "bias"}
    assert not model.network.encoder.blocks.training


@pytest.mark.parametrize(
    ("section", "options", "told"),
    [
        ({"input_px": 72}, {}, r"input_px 72 is not filled.*64 or 80"),
        ({"input_px": 72, "stride_px": 12}, {}, r"every 12 px \(64 or 76"),
        ({"stride_px": 17}, {}, "stride_px 17 leaves pixels"),
        ({}, {"heads": 3}, "width 32 is not shared by 3 heads"),
        ({}, {"width": 30, "heads": 3, "positions": "sincos"}, "multiple of 4, not 30"),
        ({"token_learner": {"after_block": 4, "tokens": 2}}, {}, "after_block 4 of 3 blocks"),
        ({"token_learner": {"after_block": 3, "tokens": 2}}, {}, "never see the learned tokens"),
        ({}, {"hedas": 3}, r"Unknown options.*hedas.*heads"),
        ({}, {"patch_px": "wide"}, "patch_px: "),
        ({}, {"image_px": 64}, "Unknown options"),
    ],
)
def test_parts_that_do_not_fit_are_refused(section: Any, options: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        make(options, **section)


def test_all_misfits_are_told_at_once() -> None:
    with pytest.raises(ModelError, match=r"input_px 72.*3 heads.*after_block 9"):
        make({"heads": 3}, input_px=72, token_learner={"after_block": 9, "tokens": 2})


@pytest.mark.parametrize("shape", [(1, 4, 64, 64), (3, 64, 64), (1, 3, 64, 72), (1, 3, 8, 8)])
def test_a_tensor_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"cannot take this tensor.*16 px every 16"):
        Encoder(tiny())(torch.zeros(shape))


def test_a_recipes_section_is_told_by_its_kind() -> None:
    said = {"kind": "vit", "start": {"kind": "config"}, "token_learner": {"after_block": 1}}
    with pytest.raises(ValueError, match="tokens"):
        TypeAdapter[Any](AnyModel).validate_python(said)
    said["token_learner"] = {"after_block": 1, "tokens": 8}
    assert isinstance(TypeAdapter[Any](AnyModel).validate_python(said), VitSection)


@pytest.mark.parametrize("learner", [None, {"after_block": 1, "tokens": 2}])
def test_it_learns_a_toy_task_in_seconds(learner: Any) -> None:
    assert learns_the_red_channel(make(token_learner=learner))
