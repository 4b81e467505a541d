"""The encoder-only mask transformer: whose weights it has, how its masks fade, what it learns."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.model import LABELS
from tests.models.test_contract import TINY_EOMT
from tests.models.test_criterion import as_transformers_likes, blocky_ids, masks_of
from tests.models.test_maskformer import (
    assert_mixed_precision_is_close,
    discs,
    mean_iou,
    train,
)
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.checkpoint import quiet
from wsi_vit.models.sections import EomtSection
from wsi_vit.models.start import ConfigStart, FolderStart

SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
BACKBONES = ["dinov2", "dinov2_with_registers", "vit"]


def make(**options: Any) -> Any:
    torch.manual_seed(0)
    plain = {"start": ConfigStart(options=TINY_EOMT), "input_px": 64, "queries": 6, "blocks": 2}
    return build_model(EomtSection.model_validate(plain | options), LABELS, "segmentation")


def backbone(kind: str, folder: Path, **changes: Any) -> Any:
    """Save a backbone with weights that all matter, as foundation models are published."""
    from transformers import AutoConfig, AutoModel

    options = {"intermediate_size": 64} if kind == "vit" else {"mlp_ratio": 2}
    torch.manual_seed(3)
    with quiet():
        model = AutoModel.from_config(AutoConfig.for_model(kind, **SIZE | options | changes)).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=0.1, std=0.2)
        model.save_pretrained(folder)
    return model


def features(model: Any, pixels: Tensor) -> Tensor:
    """Return the tokens of the ViT alone, without queries."""
    tokens = model.network.embeddings(pixels)
    for layer in model.network.layers:
        tokens = layer(tokens)
    return model.network.layernorm(tokens)


@pytest.mark.parametrize("input_px", [56, 84, 42])
@pytest.mark.parametrize("kind", BACKBONES)
def test_features_are_the_backbones_own(kind: str, input_px: int, tmp_path: Path) -> None:
    theirs = backbone(kind, tmp_path)
    model = make(start=FolderStart(path=tmp_path), input_px=input_px).eval()
    pixels = torch.randn(2, 3, input_px, input_px)
    options = {"interpolate_pos_encoding": True} if kind == "vit" else {}
    with torch.no_grad():
        expected = theirs(pixels, **options).last_hidden_state
        torch.testing.assert_close(features(model, pixels), expected, rtol=1e-5, atol=1e-5)
        assert model.scores(discs(1, seed=0)["images"]).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("lost", ["encoder.layer.1.norm1", "position_embeddings", "attention.key"])
def test_a_backbone_without_some_of_its_tensors_is_refused(lost: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    backbone("dinov2", tmp_path)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    rest = {name: tensor for name, tensor in whole.items() if lost not in name}
    assert len(rest) < len(whole)
    save_file(rest, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing"):
        make(start=FolderStart(path=tmp_path), input_px=56)


def test_an_architecture_of_another_kind_is_refused(tmp_path: Path) -> None:
    from transformers import SwinConfig

    SwinConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"cannot start from.*swin"):
        make(start=FolderStart(path=tmp_path))


def test_a_width_that_an_eomt_cannot_have_is_refused(tmp_path: Path) -> None:
    backbone("vit", tmp_path, intermediate_size=72)
    with pytest.raises(ModelError, match="whole number of times"):
        make(start=FolderStart(path=tmp_path), input_px=56)


def test_a_whole_eomt_keeps_all_but_what_its_size_classes_and_queries_change(
    tmp_path: Path,
) -> None:
    model = make()
    model.progress(1.0)
    model.save(tmp_path)
    start = FolderStart(path=tmp_path)
    assert unlike(make(start=start, queries=None, blocks=None), model) == set()
    smaller = make(start=start, queries=None, blocks=1, upscales=1)
    assert len(smaller.network.upscale_block.block) == 1
    assert smaller.network.attn_mask_probs.tolist() == [1.0]
    two = LabelMap(classes=LABELS.classes[:2])
    other: Any = build_model(EomtSection(start=start, input_px=96, queries=9), two, "segmentation")
    assert unlike(other, model) == {
        "class_predictor.weight",
        "class_predictor.bias",
        "criterion.empty_weight",
        "embeddings.position_embeddings.weight",
        "query.weight",
    }
    grids = [m.network.embeddings.position_embeddings.weight for m in (model, other)]
    assert [len(grid) for grid in grids] == [64, 144]
    torch.testing.assert_close(grids[1].mean(0), grids[0].mean(0), rtol=0.3, atol=0.1)


def unlike(one: Any, two: Any) -> set[str]:
    mine, theirs = one.network.state_dict(), two.network.state_dict()
    assert mine.keys() == theirs.keys()
    return {n for n in mine if mine[n].shape != theirs[n].shape or (mine[n] != theirs[n]).any()}


def test_masks_fade_block_by_block_and_are_gone_in_the_end() -> None:
    model, told = make(), []
    for step in range(9):
        model.progress(step / 8)
        told.append(model.network.attn_mask_probs.tolist())
    assert told[:3] == [[1.0, 1.0]] * 3
    assert told[4] == [0.0, 1.0]
    assert 0 < told[5][1] < 1
    assert told[6:] == [[0.0, 0.0]] * 3
    assert all(
        a >= b for before, after in pairwise(told) for a, b in zip(before, after, strict=True)
    )


def test_a_masked_query_sees_its_own_patches_only() -> None:
    model = make()
    masks = torch.full((1, 6, 16, 16), -1.0)
    masks[0, 2, :8] = 1.0
    allowed = model._attention(masks, 1.0)[0, 0]
    assert allowed.shape == (6 + 1 + 64, 6 + 1 + 64)
    assert allowed[6:].all()  # patches and the class token see everything
    assert allowed[:6, :7].all()  # and are seen, as queries are
    assert allowed[2, 7:39].all()
    assert not allowed[2, 39:].any()
    assert not allowed[0, 7:].any()


def test_some_queries_see_everything_while_masks_fade() -> None:
    model = make().train()
    masks = torch.full((64, 6, 16, 16), -1.0)
    torch.manual_seed(0)
    open_share = model._attention(masks, 0.7)[:, 0, :6, 7:].all(-1).float().mean()
    assert 0.2 < open_share < 0.4


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_loss_equals_that_of_transformers_where_nothing_is_ignored(share: float) -> None:
    model, ids = make().train(), blocky_ids()
    model.progress(share)
    pixels = torch.randn(3, 3, 64, 64)
    with pytest.MonkeyPatch.context() as patch:  # theirs draws numbers even where all see all
        patch.setattr(model.network, "_disable_attention_mask", opened if share else kept)
        torch.manual_seed(5)
        theirs = model.network(pixels, **as_transformers_likes(ids)).loss
    torch.manual_seed(5)
    layers = model._predict(pixels)[::-1]
    assert len(layers) == 3
    ours = model.criterion(layers, masks_of(ids), torch.ones(3))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def kept(mask: Tensor, **_: Any) -> Tensor:
    return mask


def opened(mask: Tensor, **_: Any) -> Tensor:
    return torch.ones_like(mask)


def test_transformers_reads_a_trained_model_and_says_the_same(tmp_path: Path) -> None:
    from transformers import EomtForUniversalSegmentation

    model, images = make().eval(), discs(2, seed=1)["images"]
    model.progress(1.0)
    model.save(tmp_path)
    with quiet(), torch.no_grad():
        theirs = EomtForUniversalSegmentation.from_pretrained(tmp_path).eval()
        output = theirs(model._pixels(images))
    claims = torch.einsum(
        "bqc,bqhw->bchw",
        output.class_queries_logits.softmax(-1)[..., :-1],
        output.masks_queries_logits.sigmoid(),
    )
    full = torch.nn.functional.interpolate(claims, size=(64, 64), mode="bilinear")
    assert (model.scores(images).argmax(1) == full.argmax(1)).float().mean() > 0.999


@pytest.mark.parametrize("targets", ["semantic", "instances"])
def test_it_learns_from_a_configuration_and_does_not_collapse_in_evaluation(targets: str) -> None:
    options = TINY_EOMT | {"hidden_size": 64, "train_num_points": 256}
    model = make(start=ConfigStart(options=options), targets=targets)
    batch = discs(32, seed=0)
    train(model, batch, steps=50, rate=3e-3)
    model.progress(1.0)
    train(model, batch, steps=15, rate=1.5e-3)
    with torch.no_grad():
        learning, resting = model.train().loss(batch), model.eval().loss(batch)
    assert 0.7 < resting / learning < 1.4
    assert mean_iou(model, discs(16, seed=1)) > 0.65  # background alone: 0.3


def test_the_section_says_what_is_one_mask() -> None:
    """Two discs of one class are two masks for one model, and one for the other."""
    batch = discs(1, seed=0)
    batch["targets"][:] = 0
    batch["targets"][0, 8:20, 8:20] = batch["targets"][0, 40:52, 40:52] = 1
    whole, apart = make().eval(), make(targets="instances").eval()
    seen: list[list[list[int]]] = []
    for model in (whole, apart):
        model.criterion = Spy(model.criterion, seen)
        model.loss(batch)
    assert seen == [[[0, 1]], [[0, 1, 1]]]


class Spy:
    """A criterion that tells which masks it was given."""

    def __init__(self, criterion: Any, seen: list[list[list[int]]]) -> None:
        self.criterion, self.seen, self.sampling = criterion, seen, criterion.sampling

    def __call__(self, layers: Any, truth: Any, *rest: Any, **options: Any) -> Tensor:
        self.seen.append(truth.classes)
        return self.criterion(layers, truth, *rest, **options)


def test_only_what_a_backbone_has_is_the_backbone() -> None:
    model = make()
    inner = {id(p) for p in model.backbone_parameters()}
    outside = {n.split(".")[1] for n, p in model.named_parameters() if id(p) not in inner}
    assert outside == {"query", "upscale_block", "mask_head", "class_predictor"}


def test_the_last_blocks_alone_learn_where_asked() -> None:
    names = {n for n, p in make(tuning={"last_blocks": 1}).named_parameters() if p.requires_grad}
    assert not any("embeddings" in n or ".layers.0." in n or ".layers.1." in n for n in names)
    assert {"network.layers.2.norm1.weight", "network.layernorm.weight"} <= names


def test_an_input_that_patches_do_not_fill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"multiple of the patch size 8.*64, 72"):
        make(input_px=68)
    backbone("dinov2", tmp_path)
    with pytest.raises(ModelError, match=r"multiple of the patch size 14.*56, 70"):
        make(start=FolderStart(path=tmp_path), input_px=64)


def test_fewer_queries_than_classes_and_more_blocks_than_layers_are_refused() -> None:
    with pytest.raises(ModelError, match="Fewer queries than classes"):
        make(queries=2)
    with pytest.raises(ModelError, match="more blocks"):
        make(blocks=4)


def test_mixed_precision_scores_and_losses_stay_close() -> None:
    assert_mixed_precision_is_close(make())
