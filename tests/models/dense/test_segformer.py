"""SegFormer: whose weights it has, who reads it, what it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.contracts.model import LABELS
from tests.models.test_contract import TINY_SEGFORMER
from tests.models.test_maskformer import discs, mean_iou, train
from wsi_vit.errors import ModelError
from wsi_vit.labels import LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.checkpoint import names_of, quiet
from wsi_vit.models.sections import SegformerSection
from wsi_vit.models.start import ConfigStart, FolderStart

CLASS_LAYER = {"decode_head.classifier.weight", "decode_head.classifier.bias"}
RENAMED = LabelMap(
    classes=(*LABELS.classes[:2], LABELS.classes[2].model_copy(update={"name": "fat"}))
)


def make(options: dict[str, Any] | None = None, **section: Any) -> Any:
    torch.manual_seed(0)
    start = ConfigStart(options=TINY_SEGFORMER | (options or {}))
    said = SegformerSection.model_validate({"start": start, "input_px": 64} | section)
    return build_model(said, LABELS, "segmentation")


def from_folder(folder: Path, labels: LabelMap = LABELS, input_px: int = 64) -> Any:
    section = SegformerSection(start=FolderStart(path=folder), input_px=input_px)
    return build_model(section, labels, "segmentation")


def published_encoder(folder: Path, kind: str, **changes: Any) -> Any:
    """Save an encoder as nvidia/mit-b0 is published: under a classifier's head, or alone."""
    import transformers

    torch.manual_seed(3)
    config = transformers.SegformerConfig(**TINY_SEGFORMER | names_of(LABELS) | changes)
    with quiet():
        model = getattr(transformers, kind)(config)
        for parameter in model.parameters():
            nn.init.normal_(parameter, mean=0.05, std=0.2)
        model.save_pretrained(folder)
    return model.base_model


def unlike(one: Any, two: Any) -> set[str]:
    mine, theirs = one.network.state_dict(), two.network.state_dict()
    assert mine.keys() == theirs.keys()
    return {n for n in mine if mine[n].shape != theirs[n].shape or (mine[n] != theirs[n]).any()}


@pytest.mark.parametrize("kind", ["SegformerForImageClassification", "SegformerModel"])
def test_it_begins_from_a_published_encoder(kind: str, tmp_path: Path) -> None:
    theirs = published_encoder(tmp_path, kind).state_dict()
    ours = from_folder(tmp_path).network.segformer.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_whole_one_keeps_all_but_the_class_layer_of_other_classes(tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path)
    assert unlike(from_folder(tmp_path), model) == set()
    assert unlike(from_folder(tmp_path, RENAMED), model) <= CLASS_LAYER
    assert unlike(from_folder(tmp_path, RENAMED), model)
    two = from_folder(tmp_path, LabelMap(classes=LABELS.classes[:2]), input_px=96)
    assert unlike(two, model) == CLASS_LAYER
    assert two.eval().scores(discs(1, seed=0)["images"]).shape == (1, 2, 64, 64)


@pytest.mark.parametrize("lost", ["layer_norm", "linear_fuse"])
def test_one_without_some_of_its_tensors_is_refused(lost: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make().save(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    rest = {name: tensor for name, tensor in whole.items() if lost not in name}
    assert len(rest) < len(whole)
    save_file(rest, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing"):
        from_folder(tmp_path)


def test_transformers_reads_a_saved_model_and_says_the_same(tmp_path: Path) -> None:
    from transformers import AutoModelForSemanticSegmentation

    model, images = make().eval(), discs(2, seed=1)["images"]
    model.save(tmp_path)
    with quiet(), torch.no_grad():
        theirs = AutoModelForSemanticSegmentation.from_pretrained(tmp_path).eval()
        coarse = theirs(model._pixels(images)).logits
    assert type(theirs).__name__ == model.transformers_class
    full = nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear").softmax(1)
    torch.testing.assert_close(model.scores(images), full)


def test_it_learns_discs() -> None:
    model = make({"hidden_sizes": [16, 32, 32, 64], "drop_path_rate": 0.0})
    train(model, discs(32, seed=0), steps=100)
    assert mean_iou(model.eval(), discs(16, seed=1)) > 0.65  # background alone: 0.3


def test_the_backbone_is_the_encoder() -> None:
    model = make()
    names = {id(p): name for name, p in model.named_parameters()}
    inside = [names[id(p)] for p in model.backbone_parameters()]
    assert inside
    assert all(name.startswith("network.segformer.") for name in inside)


def test_what_is_no_segformer_of_rgb_images_is_refused(tmp_path: Path) -> None:
    from transformers import SwinConfig

    SwinConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"this is none.*swin"):
        from_folder(tmp_path)
    with pytest.raises(ModelError, match=r"num_channels 4 in start\.options"):
        make({"num_channels": 4})
    with pytest.raises(ModelError, match=r"Unknown options.*depth"):
        make({"depth": [1]})
    with pytest.raises(ValidationError, match="multiple of 32"):
        SegformerSection(input_px=72)
