"""First weights: from the hub's cache, from a folder, or refused with what to do."""

import json
import time
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from tests.contracts.model import LABELS
from tests.models.test_contract import TINY_MASKS, TINY_VIT
from wsi_vit.errors import ModelError
from wsi_vit.models.building import build_model
from wsi_vit.models.checkpoint import quiet
from wsi_vit.models.sections import ClassifierSection, MaskFormerSection
from wsi_vit.models.start import ConfigStart, FolderStart, HubStart, Start

COMMIT = "b" * 40


@pytest.fixture
def vit_folder(tmp_path: Path) -> Path:
    """A backbone without a head or a pooler, as foundation models are published."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(4)
    config = ViTConfig(image_size=64, patch_size=16, **TINY_VIT)
    with quiet():
        ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_into_cache(cache: Path, folder: Path) -> None:
    """Lay a checkpoint out as the hub's client does."""
    home = cache / "models--lab--tiny-vit"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text(COMMIT)
    (home / "snapshots").mkdir()
    (home / "snapshots" / COMMIT).symlink_to(folder)


def without(folder: Path, *, keep: str) -> None:
    """Drop every tensor whose name does not hold a word."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = {name: value for name, value in load_file(path).items() if keep in name}
    save_file(tensors, path, metadata={"format": "pt"})


def build(folder: Path, **options: object) -> object:
    section = ClassifierSection.model_validate(
        {"start": {"kind": "folder", "path": folder}, "input_px": 64, **options}
    )
    return build_model(section, LABELS, "classification")


def test_a_start_is_told_by_its_kind() -> None:
    start = TypeAdapter[Start](Start).validate_python({"kind": "hub", "id": "a/b"})
    assert start == HubStart(id="a/b")


@pytest.mark.parametrize("name", ["../secret", "/etc", "a/b/c", "a b", ""])
def test_a_hub_id_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        HubStart(id=name)


def test_a_cached_checkpoint_is_found_without_a_network(hub_cache: Path, vit_folder: Path) -> None:
    put_into_cache(hub_cache, vit_folder)
    start = HubStart(id="lab/tiny-vit")
    assert start.folder().resolve() == vit_folder.resolve()
    assert start.digest() == FolderStart(path=vit_folder).digest()


def test_a_cache_with_the_configuration_alone_does_not_pass_for_a_checkpoint(
    hub_cache: Path, vit_folder: Path
) -> None:
    (vit_folder / "model.safetensors").unlink()
    put_into_cache(hub_cache, vit_folder)
    with pytest.raises(ModelError, match="hf download lab/tiny-vit"):
        HubStart(id="lab/tiny-vit").folder()


@pytest.mark.usefixtures("hub_cache")
def test_offline_a_missing_checkpoint_is_told_at_once_with_how_to_bring_it() -> None:
    start = HubStart(id="lab/absent", revision="v2")
    begun = time.monotonic()
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE.*hf download lab/absent --revision v2"):
        start.folder()
    assert time.monotonic() - begun < 3


@pytest.mark.usefixtures("hub_cache")
def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(ModelError, match="does not answer"):
        HubStart(id="lab/absent").folder()
    assert time.monotonic() - begun < 3


def test_every_tensor_of_a_bare_backbone_is_restored(vit_folder: Path) -> None:
    from transformers import ViTModel

    with quiet():
        original = ViTModel.from_pretrained(vit_folder, add_pooling_layer=False).state_dict()
    for pool in ("native", "mean"):
        model = build(vit_folder, pool=pool)
        loaded = model.backbone().state_dict()  # type: ignore[attr-defined]
        assert loaded.keys() == original.keys()
        assert all(torch.equal(loaded[name], original[name]) for name in original)


def test_a_checkpoint_with_lost_backbone_tensors_is_refused(vit_folder: Path) -> None:
    without(vit_folder, keep="layer.0")
    with pytest.raises(ModelError, match=r"would stay random.*missing"):
        build(vit_folder)


def test_a_checkpoint_of_another_depth_is_refused(vit_folder: Path) -> None:
    config = json.loads((vit_folder / "config.json").read_text())
    (vit_folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ModelError, match="left over"):
        build(vit_folder)


def test_a_checkpoint_of_another_width_is_refused(vit_folder: Path) -> None:
    config = json.loads((vit_folder / "config.json").read_text())
    (vit_folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(ModelError, match="of another shape"):
        build(vit_folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
def test_pickles_are_refused_unread(vit_folder: Path, name: str) -> None:
    (vit_folder / "model.safetensors").rename(vit_folder / name)
    with pytest.raises(ModelError, match=rf"Pickled weights are not read.*{name}"):
        build(vit_folder)


def test_code_in_a_checkpoint_is_not_run(vit_folder: Path, tmp_path: Path) -> None:
    (vit_folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    (vit_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="evil"):
        build(vit_folder)
    assert not (tmp_path / "ran").exists()


def test_damaged_weights_are_refused(vit_folder: Path) -> None:
    path = vit_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="cannot be read"):
        build(vit_folder)


@pytest.mark.parametrize("content", ["", "[]", "{broken"])
def test_a_damaged_configuration_is_refused(vit_folder: Path, content: str) -> None:
    (vit_folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be used"):
        build(vit_folder)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No checkpoint in this folder"):
        build(tmp_path)
    with pytest.raises(ModelError, match="No such folder"):
        build(tmp_path / "absent")


def test_a_misspelt_option_of_a_configuration_is_told_with_its_neighbour() -> None:
    start = ConfigStart(options={"hidden_sise": 32})
    with pytest.raises(ModelError, match=r"hidden_sise.*hidden_size"):
        build_model(ClassifierSection(start=start), LABELS, "classification")
    with pytest.raises(ModelError, match=r"widhts.*widths"):
        build_model(
            MaskFormerSection(start=ConfigStart(options={"widhts": (1, 2, 3, 4)})),
            LABELS,
            "segmentation",
        )


def test_an_unknown_model_type_is_refused() -> None:
    start = ConfigStart(options={"model_type": "oracle"})
    with pytest.raises(ModelError, match="oracle"):
        build_model(ClassifierSection(start=start), LABELS, "classification")


def test_digests_tell_checkpoints_and_options_apart(vit_folder: Path) -> None:
    before = FolderStart(path=vit_folder).digest()
    without(vit_folder, keep="layer.0")
    assert FolderStart(path=vit_folder).digest() != before
    assert ConfigStart(options=TINY_VIT).digest() != ConfigStart(options=TINY_MASKS).digest()
