"""The U-Net of MONAI: what it is made of, what it refuses, what it learns."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from tests.contracts.model import LABELS
from tests.models.test_card import FACTS
from tests.models.test_contract import TINY_UNET
from tests.models.test_maskformer import discs, mean_iou, train
from wsi_vit.errors import ModelError
from wsi_vit.models.building import build_model
from wsi_vit.models.card import card_text
from wsi_vit.models.sections import AnyModel, SegmenterSection, UnetSection
from wsi_vit.models.start import ConfigStart, FolderStart
from wsi_vit.training.optimiser import Optimiser
from wsi_vit.training.section import TrainingSection


def make(options: dict[str, Any] | None = None, **section: Any) -> Any:
    torch.manual_seed(0)
    start = ConfigStart(options=TINY_UNET | (options or {}))
    said = UnetSection.model_validate({"start": start, "input_px": 64} | section)
    return build_model(said, LABELS, "segmentation")


def test_the_defaults_are_monais() -> None:
    model = build_model(UnetSection(), LABELS, "segmentation")
    assert model.parameter_count == 1_979_075  # MONAI's default of two classes, and a third


@pytest.mark.parametrize("upsample", ["deconv", "pixelshuffle", "nontrainable"])
def test_maps_are_as_fine_as_the_image(upsample: str) -> None:
    model = make({"upsample": upsample}).eval()
    assert model.maps(torch.randn(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_it_learns_discs() -> None:
    model = make()
    train(model, discs(32, seed=0), steps=60)
    assert mean_iou(model.eval(), discs(16, seed=1)) > 0.65  # background alone: 0.3


def test_all_of_it_learns_at_one_rate_for_nothing_is_pretrained() -> None:
    said = {"epochs": 1, "learning_rate": 0.1, "backbone_rate": 0.01, "layer_decay": 0.5}
    optimiser = Optimiser(make(), TrainingSection.model_validate(said))
    assert {group["lr"] for group in optimiser.torch.param_groups} == {0.1}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"feature": (8,)}, r"feature: Extra.*features"),
        ({"features": (8, 8)}, r"features\.2: Field required"),
        ({"features": (0, 8, 8, 8, 8, 8)}, r"features\.0: .*greater than or equal to 1"),
        ({"upsample": "deconv", "dropout": 1.5}, "dropout: "),
    ],
)
def test_options_that_make_no_unet_are_all_told(options: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        make(options)


def test_a_size_that_five_levels_cannot_halve_is_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 16"):
        UnetSection(input_px=72)
    with pytest.raises(ValidationError, match="greater than or equal to 32"):
        UnetSection(input_px=16)  # its deepest map would be one pixel, which has no instance norm


def test_a_checkpoint_to_start_from_is_refused(tmp_path: Path) -> None:
    said = {"kind": "unet", "start": {"kind": "hub", "id": "facebook/dinov2-small"}}
    with pytest.raises(ValidationError, match="config"):
        TypeAdapter[Any](AnyModel).validate_python(said)
    make().save(tmp_path)
    named = UnetSection().model_copy(update={"start": FolderStart(path=tmp_path)})  # --start
    with pytest.raises(ModelError, match="learns from random weights"):
        build_model(named, LABELS, "segmentation")


def test_nobody_else_takes_its_folder_for_something_else(tmp_path: Path) -> None:
    make().save(tmp_path)
    section = SegmenterSection(start=FolderStart(path=tmp_path), input_px=64)
    with pytest.raises(ModelError, match=r"model_type 'monai_basic_unet'"):
        build_model(section, LABELS, "segmentation")


def test_a_machine_without_monai_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets.basic_unet", None)
    with pytest.raises(ModelError, match=r"not installed here.*pip install 'monai"):
        make()


def test_its_card_says_what_it_is_and_who_reads_it() -> None:
    text = card_text(make(), FACTS)
    assert "Architecture: BasicUNet of MONAI" in text
    assert "transformers has no class for this network" in text
