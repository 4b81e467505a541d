"""Adapters: what is adapted, what learns, and that what is saved is a plain model."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.contracts.model import LABELS, ModelContract, made_up_examples
from tests.models.test_contract import TINY_DINO, TINY_EOMT, TINY_OURS, TINY_VIT
from wsi_vit.errors import ModelError
from wsi_vit.models.building import build_model
from wsi_vit.models.load import load_model
from wsi_vit.models.lora import Adapted
from wsi_vit.models.sections import ClassifierSection, EomtSection, SegmenterSection, VitSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.training.optimiser import Optimiser
from wsi_vit.training.section import TrainingSection

TUNING = {"lora_rank": 2, "lora_alpha": 8, "lora_dropout": 0.1}
THEIR_DINO = {
    "model_type": "dinov2",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}
KINDS: dict[str, Any] = {
    "vit": (ClassifierSection, TINY_VIT, {}),
    "dinov2": (ClassifierSection, THEIR_DINO, {"pool": "cls"}),
    "our vit": (VitSection, TINY_OURS, {"token_learner": {"after_block": 1, "tokens": 2}}),
    "our dinov2": (VitSection, TINY_DINO, {}),
    "segmenter": (SegmenterSection, TINY_OURS, {"decoder": {"kind": "mask_transformer"}}),
    "eomt": (EomtSection, TINY_EOMT, {"queries": 6, "blocks": 1, "upscales": 1}),
}


def make(kind: str, *, tuning: Any = TUNING) -> Any:
    """Return a small model, as after some training: its adapters change what it says."""
    made, options, more = KINDS[kind]
    said = {"start": ConfigStart(options=options), "input_px": 64, "tuning": tuning} | more
    section = made.model_validate(said)
    model = build_model(section, LABELS, section.task)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


class AdaptedContract(ModelContract):
    kind: str

    def make(self) -> Any:
        return make(self.kind)


class TestAdaptedViT(AdaptedContract):
    kind = "vit"


class TestAdaptedDinov2(AdaptedContract):
    kind = "dinov2"


class TestOurAdaptedViT(AdaptedContract):
    kind = "our vit"


class TestOurAdaptedDinov2(AdaptedContract):
    kind = "our dinov2"


class TestAdaptedEomt(AdaptedContract):
    kind = "eomt"


@pytest.mark.parametrize(
    ("kind", "block", "layers"),
    [
        ("vit", "network.vit.layers.2.attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("dinov2", "network.encoder.layer.2.attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("our vit", "network.encoder.blocks.2.attention", {"qkv", "output"}),
        ("segmenter", "network.encoder.blocks.2.attention", {"qkv", "output"}),
        ("eomt", "network.layers.2.attention", {"q_proj", "k_proj", "v_proj", "out_proj"}),
    ],
)
def test_queries_keys_values_and_output_of_every_block_are_adapted(
    kind: str, block: str, layers: set[str]
) -> None:
    names = {name for name, m in make(kind).named_modules() if isinstance(m, Adapted)}

    assert {name.rpartition(".")[2] for name in names if name.startswith(block)} == layers
    assert len(names) == 3 * len(layers)


@pytest.mark.parametrize("kind", KINDS)
def test_only_adapters_and_what_is_new_learn(kind: str) -> None:
    model = make(kind).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = Optimiser(model, TrainingSection(learning_rate=0.1, layer_decay=0.5))
    model.loss(model.collate(made_up_examples(model))).backward()
    optimiser.torch.step()

    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    inside = {id(p) for p in model.backbone().parameters()}
    outside = {n for n, p in model.named_parameters() if id(p) not in inside}
    assert changed - outside == {n for n in before if ".lora_" in n}
    assert changed & outside
    assert model.trained_count == sum(before[n].numel() for n in changed | outside)


def test_adapters_of_early_blocks_learn_at_lower_rates() -> None:
    model = make("our vit")

    optimiser = Optimiser(model, TrainingSection(learning_rate=1.0, layer_decay=0.5))

    rate_of = {id(p): g["lr"] for g in optimiser.torch.param_groups for p in g["params"]}
    rates = {n: rate_of[id(p)] for n, p in model.named_parameters() if "qkv.lora_A" in n}
    assert list(rates.values()) == [0.125, 0.25, 0.5]


@pytest.mark.parametrize("kind", ["vit", "our vit"])
def test_new_adapters_change_nothing(kind: str) -> None:
    plain, adapted = make(kind, tuning="full").eval(), make(kind).eval()
    theirs = plain.state_dict()
    for name, tensor in adapted.state_dict().items():
        tensor.copy_(theirs.get(name.replace(".base_layer", ""), torch.zeros(())))
        if "lora_A" in name:
            torch.nn.init.normal_(tensor)

    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(adapted.scores(images), plain.scores(images))


def test_what_is_judged_in_mixed_precision_is_what_is_kept(tmp_path: Path) -> None:
    model = make("our vit").eval()
    model.save(tmp_path)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)

    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(load_model(tmp_path).scores(images), model.scores(images))


@pytest.mark.parametrize("kind", ["vit", "our dinov2"])
def test_merged_logits_equal_those_of_adapters_beside_their_layers(kind: str) -> None:
    model = make(kind, tuning=TUNING | {"lora_dropout": 0.0})
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        merged = model.eval().logits(images)
        beside = model.train().logits(images)

    assert not torch.equal(merged, beside)  # or they were computed alike
    assert torch.allclose(merged, beside, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_plain_and_saving_changes_nothing(kind: str, tmp_path: Path) -> None:
    model = make(kind).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    model.save(tmp_path)
    loaded = load_model(tmp_path)

    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = list(file.keys())
    assert not [name for name in names if "lora" in name or "base_layer" in name]
    assert not any(isinstance(m, Adapted) for m in loaded.modules())
    assert loaded.trained_count == loaded.parameter_count
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_without_attention_is_refused() -> None:
    options = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8], "depths": [1]}
    section = ClassifierSection.model_validate(
        {"start": ConfigStart(options=options), "input_px": 64, "tuning": TUNING}
    )
    with pytest.raises(ModelError, match=r"no attention.*another `tuning`"):
        build_model(section, LABELS, "classification")


def test_a_machine_without_peft_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(ModelError, match="pip install peft"):
        make("our vit")
