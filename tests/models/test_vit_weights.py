"""Published checkpoints in our Vision Transformer: in, the same numbers, and out again."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.contracts.model import LABELS
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.checkpoint import names_of, quiet
from wsi_vit.models.load import load_model
from wsi_vit.models.sections import VitSection
from wsi_vit.models.start import FolderStart

SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
PLAIN = {"intermediate_size": 72}
DINO = {"mlp_ratio": 2, "layerscale_value": 0.5}
STEMS = {
    "vit": "ViT",
    "deit": "DeiT",
    "dinov2": "Dinov2",
    "dinov2_with_registers": "Dinov2WithRegisters",
}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit", PLAIN),
    "vit without biases": ("vit", PLAIN | {"qkv_bias": False}),
    "deit": ("deit", PLAIN),
    "dinov2": ("dinov2", DINO),
    "dinov2 of gates": ("dinov2", DINO | {"use_swiglu_ffn": True, "use_mask_token": False}),
    "dinov2 with registers": ("dinov2_with_registers", DINO),
}


def published(form: str, folder: Path, **changes: Any) -> Any:
    """Save a classifier of transformers with weights that all matter."""
    import transformers

    kind, options = FORMS[form]
    made = getattr(transformers, f"{STEMS[kind]}ForImageClassification")
    torch.manual_seed(3)
    asked = SIZE | options | changes | names_of(LABELS)
    with quiet():
        model: Any = made(transformers.AutoConfig.for_model(kind, **asked))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=0.05, std=0.2)
        model.save_pretrained(folder)
    return model.eval()


def begin(folder: Path, labels: LabelMap = LABELS, **options: Any) -> Any:
    plain = {"start": FolderStart(path=folder), "input_px": 56}
    section = VitSection.model_validate(plain | options)
    return build_model(section, labels, "classification").eval()


def sized(theirs: Any) -> dict[str, bool]:
    return {} if "dinov2" in theirs.config.model_type else {"interpolate_pos_encoding": True}


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("input_px", [56, 84, 42])
@pytest.mark.parametrize("form", FORMS)
def test_features_and_logits_are_the_checkpoints(form: str, input_px: int, tmp_path: Path) -> None:
    theirs = published(form, tmp_path)
    ours = begin(tmp_path, input_px=input_px)
    pixels = torch.randn(2, 3, input_px, input_px)
    with torch.no_grad():
        features = theirs.base_model(pixels, **sized(theirs)).last_hidden_state
        logits = theirs(pixels, **sized(theirs)).logits
        torch.testing.assert_close(ours.network.encoder(pixels), features, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.network(pixels), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_out_again_come_the_very_same_tensors(form: str, tmp_path: Path) -> None:
    theirs = published(form, tmp_path / "theirs")
    ours = begin(tmp_path / "theirs")
    ours.save(tmp_path / "ours")
    before, after = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["model_type"] == theirs.config.model_type
    assert ours.transformers_class == type(theirs).__name__ == config["architectures"][0]


@pytest.mark.parametrize("form", ["vit", "deit", "dinov2 of gates", "dinov2 with registers"])
def test_transformers_reads_what_we_save(form: str, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoModelForImageClassification

    published(form, tmp_path / "theirs")
    pixels = torch.randn(2, 3, 42, 42)
    for pool, auto in (("native", AutoModelForImageClassification), ("mean", AutoModel)):
        ours = begin(tmp_path / "theirs", input_px=42, pool=pool)
        ours.save(tmp_path / pool)
        with quiet(), torch.no_grad():
            again = auto.from_pretrained(tmp_path / pool).eval()
            found = again(pixels)
            expected = ours.network(pixels) if pool == "native" else ours.network.encoder(pixels)
        got = found.logits if pool == "native" else found.last_hidden_state
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
        assert again.config.id2label == {0: "stroma", 1: "tumour", 2: "mucus"}


@pytest.mark.parametrize(
    ("form", "lost"),
    [
        ("dinov2", "layer.1.norm1"),
        ("dinov2", "position_embeddings"),
        ("vit", "attention.key"),
        ("deit", "distillation_token"),
    ],
)
def test_a_checkpoint_without_some_of_its_tensors_is_refused(
    form: str, lost: str, tmp_path: Path
) -> None:
    published(form, tmp_path)
    whole = tensors(tmp_path)
    rest = {name: tensor for name, tensor in whole.items() if lost not in name}
    assert len(rest) < len(whole)
    save_file(rest, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing"):
        begin(tmp_path)


def test_a_tensor_that_finds_no_place_is_refused(tmp_path: Path) -> None:
    published("vit", tmp_path)
    more = tensors(tmp_path) | {"vit.surprise.weight": torch.ones(3)}
    save_file(more, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"left over.*surprise"):
        begin(tmp_path)


def test_other_architectures_and_variants_are_refused(tmp_path: Path) -> None:
    from transformers import SwinConfig

    SwinConfig().save_pretrained(tmp_path / "swin")
    with pytest.raises(ModelError, match=r"cannot take.*swin.*Known: vit, deit"):
        begin(tmp_path / "swin")
    published("vit", tmp_path / "odd", hidden_act="relu")
    with pytest.raises(ModelError, match=r"no such variant.*hidden_act relu"):
        begin(tmp_path / "odd")


def test_a_head_is_kept_for_the_same_classes_and_the_same_pooling(tmp_path: Path) -> None:
    published("dinov2", tmp_path / "theirs")
    names = ("cat", "dog", "bird")
    pets = LabelMap.model_validate({"classes": [{"name": n, "colour": "#000000"} for n in names]})
    head = tensors(tmp_path / "theirs")["classifier.weight"]
    assert torch.equal(begin(tmp_path / "theirs").network.head.weight, head)
    assert not torch.equal(begin(tmp_path / "theirs", pets).network.head.weight, head)
    mean = begin(tmp_path / "theirs", pool="mean")
    mean.save(tmp_path / "mean")
    again = begin(tmp_path / "mean", pool="mean")
    assert torch.equal(again.network.head.weight, mean.network.head.weight)
    assert begin(tmp_path / "mean", pool="native").network.head.weight.shape == (3, 64)


def test_patches_of_a_checkpoint_can_overlap(tmp_path: Path) -> None:
    published("dinov2", tmp_path / "theirs")
    ours = begin(tmp_path / "theirs", stride_px=7)
    assert ours.network.encoder(torch.randn(1, 3, 56, 56)).shape == (1, 1 + 7 * 7, 32)
    ours.save(tmp_path / "ours")
    assert json.loads((tmp_path / "ours/config.json").read_text())["model_type"] == "wsi_vit"
    with pytest.raises(ModelError, match="model_type 'wsi_vit'"):
        from wsi_vit.models.sections import ClassifierSection

        start = FolderStart(path=tmp_path / "ours")
        build_model(ClassifierSection(start=start, input_px=56), LABELS, "classification")


def test_a_token_learner_is_new_to_a_checkpoint_and_kept_from_our_own(tmp_path: Path) -> None:
    theirs = published("vit", tmp_path / "theirs")
    learner = {"after_block": 1, "tokens": 3}
    ours = begin(tmp_path / "theirs", token_learner=learner)
    same = theirs.vit.embeddings.position_embeddings
    assert torch.equal(ours.network.encoder.embedding.positions, same)
    ours.save(tmp_path / "ours")
    again = begin(tmp_path / "ours", token_learner=learner)
    assert all(map(torch.equal, ours.state_dict().values(), again.state_dict().values()))
    for other in (None, learner | {"tokens": 2}):
        with pytest.raises(ModelError, match="TokenLearner of its own"):
            begin(tmp_path / "ours", token_learner=other)


def test_a_folder_of_ours_with_an_unknown_part_is_refused(tmp_path: Path) -> None:
    published("vit", tmp_path / "theirs")
    begin(tmp_path / "theirs", stride_px=7).save(tmp_path / "ours")
    path = tmp_path / "ours/config.json"
    said = json.loads(path.read_text())
    said["architecture"]["surprise"] = 1
    path.write_text(json.dumps(said))
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "ours")


REAL = Path(os.environ.get("WSI_VIT_WEIGHTS", "unset"))


@pytest.mark.skipif(
    not (REAL / "config.json").is_file(),
    reason=f"no pretrained ViT or DINOv2 folder at WSI_VIT_WEIGHTS ({REAL})",
)
def test_a_really_pretrained_encoder_gives_the_same_features(tmp_path: Path) -> None:
    from transformers import AutoModel

    with quiet():
        theirs: Any = AutoModel.from_pretrained(REAL).eval()
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    ours = begin(REAL, input_px=224)
    with torch.no_grad():
        expected = theirs(pixels, **sized(theirs)).last_hidden_state
        torch.testing.assert_close(ours.network.encoder(pixels), expected, rtol=1e-5, atol=1e-5)
    native = begin(REAL, input_px=theirs.config.image_size)
    native.save(tmp_path)
    before = theirs.state_dict()
    again = begin(tmp_path, input_px=theirs.config.image_size).network.state_dict()
    for name, value in native.network.state_dict().items():
        assert torch.equal(value, again[name])
    [positions] = [before[name] for name in before if "position_embeddings" in name]
    assert torch.equal(native.network.encoder.embedding.positions, positions)
