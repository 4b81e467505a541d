"""Saved models: whole, verified, and refused where they are not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contracts.model import LABELS
from tests.models.test_contract import TINY_VIT
from wsi_vit.errors import ModelError
from wsi_vit.models import folder as module
from wsi_vit.models.building import build_model
from wsi_vit.models.load import load_model
from wsi_vit.models.sections import ClassifierSection
from wsi_vit.models.start import ConfigStart


def make(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    section = {"start": ConfigStart(options=TINY_VIT), "input_px": 64} | options
    return build_model(ClassifierSection.model_validate(section), LABELS, "classification")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make().save(tmp_path / "model")
    return tmp_path / "model"


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_one_flipped_bit_in_the_weights_is_found(saved: Path) -> None:
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="other bytes than were saved"):
        load_model(saved)


def test_swapped_class_names_are_found(saved: Path) -> None:
    text = (saved / "labels.json").read_text()
    swapped = text.replace("tumour", "x").replace("stroma", "tumour").replace('"x"', '"stroma"')
    (saved / "labels.json").write_text(swapped)
    with pytest.raises(ModelError, match="damaged"):
        load_model(saved)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "labels.json", "preprocessing.json"]
)
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load_model(saved)


def test_what_the_pipeline_adds_to_the_preprocessing_is_left_alone(saved: Path) -> None:
    change(saved / "preprocessing.json", tiles={"grid": {"mpp": 0.5}})
    assert load_model(saved).input_px == 64


def test_a_preprocessing_that_makes_no_sense_is_refused(saved: Path) -> None:
    change(saved / "preprocessing.json", input_px=-3)
    with pytest.raises(ModelError, match=r"preprocessing\.json"):
        load_model(saved)


def test_a_checkpoint_that_is_not_ours_is_refused(saved: Path) -> None:
    change(saved / "config.json", wsi_vit=None)
    with pytest.raises(ModelError, match="Not a model that wsi-vit saved"):
        load_model(saved)


def test_a_model_of_a_later_version_is_refused(saved: Path) -> None:
    part = json.loads((saved / "config.json").read_text())["wsi_vit"]
    change(saved / "config.json", wsi_vit=part | {"version": 2})
    with pytest.raises(ModelError, match="version"):
        load_model(saved)


def test_a_section_of_an_unknown_kind_is_refused(saved: Path) -> None:
    part = json.loads((saved / "config.json").read_text())["wsi_vit"]
    change(saved / "config.json", wsi_vit=part | {"section": {"kind": "oracle"}})
    with pytest.raises(ModelError, match="does not fit this version"):
        load_model(saved)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such folder"):
        load_model(tmp_path / "absent")


def test_pickles_beside_a_model_are_never_read(saved: Path) -> None:
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_model(saved)


def test_a_saving_that_broke_off_over_an_older_model_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = []

    def break_off(path: Path) -> Any:
        renamed.append(path)
        if len(renamed) == 2:
            raise OSError("No space left on device")
        return real(path)

    real = module.write_whole
    monkeypatch.setattr(module, "write_whole", break_off)
    with pytest.raises(ModelError, match="No space left"):
        make(seed=1).save(saved)
    with pytest.raises(ModelError, match="other bytes"):
        load_model(saved)
    assert not list(saved.glob(".*"))


def test_a_saved_model_does_not_say_where_its_first_weights_lay(saved: Path) -> None:
    section = json.loads((saved / "config.json").read_text())["wsi_vit"]["section"]
    assert "start" not in section
    assert section["kind"] == "classifier"


def test_an_own_head_is_restored(tmp_path: Path) -> None:
    model = make(pool="cls+mean").eval()
    model.save(tmp_path)
    assert torch.equal(load_model(tmp_path).head.weight, model.head.weight)


def test_a_loaded_model_saves_the_same_again(saved: Path, tmp_path: Path) -> None:
    load_model(saved).save(tmp_path / "again")
    for name in ("model.safetensors", "labels.json", "preprocessing.json"):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
