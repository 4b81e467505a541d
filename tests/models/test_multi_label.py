"""A class token a label: where it begins, what it learns, what is saved with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.contracts.model import LABELS, made_up_examples
from tests.models.test_contract import TINY_DINO, TINY_OURS
from wsi_vit.errors import ModelError
from wsi_vit.labels import IGNORE_ID, LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.card import CardFacts, card_text
from wsi_vit.models.load import load_model
from wsi_vit.models.sections import MultiLabelSection, SegmenterSection, VitSection
from wsi_vit.models.start import ConfigStart, FolderStart

TWO = LabelMap(classes=LABELS.classes[:2])


def make(options: dict[str, Any] | None = None, **section: Any) -> Any:
    torch.manual_seed(0)
    start = ConfigStart(options=TINY_OURS | (options or {}))
    said = MultiLabelSection.model_validate({"start": start, "input_px": 64} | section)
    return build_model(said, LABELS, "multi_label")


def begun(folder: Path, labels: LabelMap = LABELS, **section: Any) -> Any:
    torch.manual_seed(1)
    said = {"start": FolderStart(path=folder), "input_px": 64} | section
    return build_model(MultiLabelSection.model_validate(said), labels, "multi_label")


def classifier(folder: Path, options: dict[str, Any]) -> Any:
    torch.manual_seed(2)
    section = VitSection(start=ConfigStart(options=options), input_px=64, pool="cls")
    model = build_model(section, LABELS, "classification").eval()
    model.save(folder)
    return model


@pytest.mark.parametrize("options", [TINY_OURS, TINY_DINO | {"registers": 2}])
def test_each_token_begins_as_the_class_token(options: dict[str, Any], tmp_path: Path) -> None:
    source = classifier(tmp_path, options)
    model = begun(tmp_path)
    mine, theirs = model.network.encoder.embedding, source.network.encoder.embedding

    assert torch.equal(mine.class_token, theirs.class_token.expand(-1, 3, -1))
    assert torch.equal(mine.positions[:, :3], theirs.positions[:, :1].expand(-1, 3, -1))
    assert torch.equal(mine.positions[:, 3:], theirs.positions[:, 1:])


def test_a_model_of_one_label_says_what_the_class_token_does(tmp_path: Path) -> None:
    source = classifier(tmp_path, TINY_OURS)
    model = begun(tmp_path, LabelMap(classes=LABELS.classes[:1])).eval()
    pixels = torch.randn(2, 3, 64, 64)
    theirs = source.network.encoder(pixels)[:, :1]
    assert torch.allclose(model.network(pixels), model.network.heads(theirs), atol=1e-6)


def test_logits_are_each_tokens_own_linear_layer() -> None:
    model = make().eval()
    pixels = torch.randn(2, 3, 64, 64)
    tokens, heads = model.network.encoder(pixels), model.network.heads
    by_hand = [tokens[:, k] @ heads.weight[k] + heads.bias[k] for k in range(3)]
    assert torch.allclose(model.network(pixels), torch.stack(by_hand, 1), atol=1e-6)


def test_the_loss_is_the_mean_over_what_is_known_with_positives_weighed() -> None:
    model = make().eval()
    batch = model.collate(made_up_examples(model))
    batch["targets"] = torch.tensor([[1, 0, IGNORE_ID], [0, 0, 1], [1, IGNORE_ID, IGNORE_ID]])
    model.weigh_classes(torch.tensor([2.0, 1.0, 5.0]))
    logits = model.logits(batch["images"])
    known = batch["targets"] != IGNORE_ID
    each = binary_cross_entropy_with_logits(
        logits,
        batch["targets"].clamp(max=1).float(),
        pos_weight=torch.tensor([2.0, 1.0, 5.0]),
        reduction="none",
    )
    assert torch.allclose(model.loss(batch), each[known].mean())


def test_no_label_any_or_all_may_be_sure() -> None:
    model = make().eval()
    for bias in (-9.0, 9.0):
        torch.nn.init.constant_(model.network.heads.bias, bias)
        scores = model.scores(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
        assert ((scores > 0.5) == (bias > 0)).all()


def test_thresholds_are_saved_with_the_weights_and_loaded_with_them(tmp_path: Path) -> None:
    model = make().eval()
    assert model.thresholds == (0.5, 0.5, 0.5)
    model.call_present_from((0.25, 0.5, 0.75))
    model.save(tmp_path / "model")
    assert load_model(tmp_path / "model").thresholds == (0.25, 0.5, 0.75)


def test_the_card_tells_thresholds() -> None:
    model = make()
    model.call_present_from((0.25, 0.5, 0.75))
    facts = CardFacts(name="m", summary="s", base="b", dataset="d", dataset_digest="0")
    text = card_text(model, facts)
    assert "present: stroma 0.250, tumour 0.500, mucus 0.750" in text
    assert "(B, labels), each from 0 to 1" in text


@pytest.mark.parametrize("thresholds", [(0.5,), (0.5, 1.5, 0.5), (0.5, float("nan"), 0.5)])
def test_thresholds_that_do_not_fit_are_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ModelError, match="thresholds do not fit"):
        make().call_present_from(thresholds)


@pytest.mark.parametrize("tuning", ["head", {"last_blocks": 1}, {"lora_rank": 2}])
def test_tokens_and_heads_learn_whatever_of_the_encoder_does(tuning: Any) -> None:
    model = make(tuning=tuning)
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    token = model.network.encoder.embedding.class_token
    assert "network.encoder.embedding.class_token" in learns
    assert {"network.heads.weight", "network.heads.bias"} <= learns
    assert "network.encoder.embedding.positions" not in learns
    assert all(p is not token for p in model.backbone_parameters())


def test_one_of_the_same_labels_goes_on_with_tokens_and_heads_but_not_thresholds(
    tmp_path: Path,
) -> None:
    model = make().eval()
    model.call_present_from((0.1, 0.2, 0.3))
    model.save(tmp_path)
    again = begun(tmp_path)
    assert torch.equal(again.network.heads.weight, model.network.heads.weight)
    assert again.thresholds == (0.5, 0.5, 0.5)


def test_one_of_other_labels_begins_from_the_mean_of_the_tokens(tmp_path: Path) -> None:
    model = make().eval()
    model.save(tmp_path)
    token = model.network.encoder.embedding.class_token
    mine = begun(tmp_path, TWO)
    segmenter = build_model(
        SegmenterSection(start=FolderStart(path=tmp_path), input_px=64), TWO, "segmentation"
    )
    for other, count in ((mine, 2), (segmenter, 1)):
        found = other.network.encoder.embedding.class_token
        assert torch.allclose(found, token.mean(1, keepdim=True).expand(-1, count, -1))


def test_attention_begins_with_the_labels_own_tokens() -> None:
    model = make({"registers": 1, "mlp": "swiglu"}).eval()
    seen = model.attended(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert seen.own_tokens
    assert seen.special == 4
    assert seen.attention[-1].shape[-1] == 4 + seen.grid[0] * seen.grid[1]


def test_a_token_learner_behind_the_last_block_is_refused() -> None:
    with pytest.raises(ModelError, match="the last block"):
        make(token_learner={"after_block": 3, "tokens": 2})


def test_another_task_is_refused_by_name() -> None:
    section = MultiLabelSection(start=ConfigStart(options=TINY_OURS), input_px=64)
    with pytest.raises(ModelError, match="several labels an image"):
        build_model(section, LABELS, "classification")
