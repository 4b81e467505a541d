"""Heads, pooling, tuning and sizes of the classifier."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.contracts.model import LABELS, learns_the_red_channel
from tests.models.test_contract import TINY_VIT
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.checkpoint import quiet
from wsi_vit.models.load import load_model
from wsi_vit.models.sections import ClassifierSection
from wsi_vit.models.start import ConfigStart, FolderStart


def make(**options: Any) -> Any:
    torch.manual_seed(0)
    section = {"start": ConfigStart(options=TINY_VIT), "input_px": 64} | options
    return build_model(ClassifierSection.model_validate(section), LABELS, "classification")


def noise(count: int = 2, side_px: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side_px, side_px), dtype=torch.uint8)


def trained_names(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_the_loss_is_torchs_cross_entropy_of_known_targets() -> None:
    model = make(label_smoothing=0.1)
    weights, images = torch.tensor([1.0, 2.0, 0.5]), noise(4)
    targets = torch.tensor([0, 2, 255, 1])
    model.eval().weigh_classes(weights)
    logits = model.logits(images)
    expected = F.cross_entropy(
        logits, targets, weight=weights, ignore_index=255, label_smoothing=0.1
    )
    torch.testing.assert_close(model.loss({"images": images, "targets": targets}), expected)


def test_transformers_loads_a_saved_classifier_by_itself(tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    model, images = make().eval(), noise()
    model.save(tmp_path)
    with quiet():
        theirs = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    logits = theirs(model._pixels(images)).logits
    assert torch.equal(logits.softmax(-1), model.scores(images))
    assert theirs.config.id2label == {0: "stroma", 1: "tumour", 2: "mucus"}


def test_a_class_token_on_vit_is_its_native_pooling() -> None:
    images = noise()
    assert torch.equal(make().eval().scores(images), make(pool="cls").eval().scores(images))


def test_mean_pooling_leaves_the_class_token_out() -> None:
    model = make(pool="mean").eval()
    tokens = torch.randn(2, 17, 32)
    torch.testing.assert_close(model._pooled(tokens), tokens[:, 1:].mean(1))
    both = make(pool="cls+mean").eval()._pooled(tokens)
    torch.testing.assert_close(both[:, :32], tokens[:, 0])


def test_a_pooling_of_tokens_is_refused_where_there_are_none() -> None:
    start = ConfigStart(options={"model_type": "resnet", "depths": [1], "hidden_sizes": [8]})
    with pytest.raises(ModelError, match="pooling"):
        make(start=start, pool="cls+mean")


def test_a_linear_probe_trains_its_head_alone() -> None:
    model = make(tuning="head").train()
    assert trained_names(model) == {"network.classifier.weight", "network.classifier.bias"}
    assert list(model.backbone_parameters()) == []
    assert not model.backbone().training
    assert model.training


def test_the_last_blocks_train_with_the_norm_after_them() -> None:
    names = trained_names(make(tuning={"last_blocks": 1}))
    assert {name.split(".layernorm")[0] for name in names if "norm_" in name}
    assert any(name.endswith("vit.layernorm.weight") for name in names)
    assert not any("embeddings" in name for name in names)
    assert len(names) == 16 + 2 + 2  # one block, the norm, the head


def test_more_blocks_than_there_are_are_refused() -> None:
    with pytest.raises(ModelError, match="fewer blocks"):
        make(tuning={"last_blocks": 9})


def test_dropout_acts_on_the_heads_inputs_in_training_only() -> None:
    for pool in ("native", "mean"):
        model, images = make(dropout=0.5, pool=pool), noise()
        model.train()
        assert not torch.equal(model.logits(images), model.logits(images))
        model.eval()
        assert torch.equal(model.logits(images), model.logits(images))


def test_an_input_that_patches_do_not_fill_is_refused() -> None:
    with pytest.raises(ModelError, match=r"multiple of the patch size 16.*64, 80"):
        make(input_px=72)


def test_position_encodings_are_interpolated_from_the_checkpoints(tmp_path: Path) -> None:
    make().save(tmp_path)
    larger = make(start=FolderStart(path=tmp_path), input_px=96).eval()
    assert larger.network.vit.embeddings.position_embeddings.shape == (1, 17, 32)
    assert larger.scores(noise(2, 96)).shape == (2, 3)


def test_a_head_trained_for_these_classes_is_kept_and_any_other_drawn_anew(tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path)
    start = FolderStart(path=tmp_path)
    again = make(start=start)
    assert torch.equal(again.network.classifier.weight, model.network.classifier.weight)
    names = ("cat", "dog", "bird")
    pets = LabelMap.model_validate({"classes": [{"name": n, "colour": "#000000"} for n in names]})
    section = ClassifierSection(start=start, input_px=64)
    other = build_model(section, pets, "classification")
    assert not torch.equal(other.network.classifier.weight, model.network.classifier.weight)
    assert torch.equal(
        other.network.vit.embeddings.cls_token, model.network.vit.embeddings.cls_token
    )


def test_attention_runs_through_sdpa() -> None:
    assert make().network.config._attn_implementation == "sdpa"


def test_a_checkpoints_normalisation_is_taken_over_unless_the_recipe_says_otherwise(
    tmp_path: Path,
) -> None:
    make(mean=(0.5, 0.5, 0.5)).save(tmp_path)
    start = FolderStart(path=tmp_path)
    assert make(start=start).preprocessing.mean == (0.5, 0.5, 0.5)
    assert make(start=start, mean=(0.1, 0.2, 0.3)).preprocessing.mean == (0.1, 0.2, 0.3)


def test_a_mask_task_is_refused() -> None:
    with pytest.raises(ModelError, match="maskformer"):
        build_model(ClassifierSection(start=ConfigStart()), LABELS, "segmentation")


def test_it_learns_a_toy_task_in_seconds() -> None:
    assert learns_the_red_channel(make())


@pytest.mark.parametrize(
    "options",
    [TINY_VIT | {"model_type": "deit"}, {"model_type": "pvt", "depths": [1, 1, 1, 1]}],
    ids=["deit", "pvt"],
)
def test_an_architecture_of_several_heads_or_a_fixed_one_gets_ours(
    options: dict[str, Any], tmp_path: Path
) -> None:
    model = make(start=ConfigStart(options=options)).eval()
    images = noise()

    model.save(tmp_path / "model")

    assert model.scores(images).shape == (2, 3)
    assert torch.equal(load_model(tmp_path / "model").scores(images), model.scores(images))


def test_a_checkpoint_with_a_teachers_head_begins_without_it(tmp_path: Path) -> None:
    import transformers

    config = transformers.DeiTConfig(**TINY_VIT, image_size=64, num_labels=7)
    with quiet():
        transformers.DeiTForImageClassificationWithTeacher(config).save_pretrained(tmp_path)

    model = make(start=FolderStart(path=tmp_path))

    assert type(model.network).__name__ == "DeiTForImageClassification"


@pytest.mark.parametrize("model_type", ["pp_lcnet", "imagegpt", "detr"])
def test_what_does_not_classify_an_image_is_refused_with_what_does(model_type: str) -> None:
    with pytest.raises(ModelError, match=rf"transformers cannot .*{model_type}.*Known: beit, "):
        make(start=ConfigStart(options={"model_type": model_type}))
