import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.conftest import LABELS, MakeRun, Server, write_metrics
from wsi_vit.errors import RegistryError, ServiceError
from wsi_vit.models.load import load_model
from wsi_vit.tracking.client import open_client
from wsi_vit.tracking.registry import Registry

NAME = "wsi-vit-demo"


@pytest.fixture
def registry(uri: str, tmp_path: Path) -> Registry:
    return Registry(uri, cache=tmp_path / "cache")


def test_a_version_carries_what_is_known_of_its_run(registry: Registry, make_run: MakeRun) -> None:
    version = registry.register(make_run("0" * 16, value=0.9))
    assert (version.name, version.version, version.aliases) == (NAME, 1, ("challenger",))
    assert version.headline.value == 0.9
    assert (version.dataset_digest, version.split_digest) == ("d" * 64, "e" * 64)
    assert version.git_commit == "c0ffee"
    assert len(version.recipe_digest) == len(version.model_digest) == 64
    assert version.beats_trivial
    assert version.estimate == "unseen patients"
    tags = open_client(registry.uri).get_model_version(NAME, "1").tags
    assert json.loads(tags["wsi_vit.metrics"])["tile/macro_f1"] == [0.9, 0.8, 0.95]


def test_a_run_is_registered_once(registry: Registry, make_run: MakeRun) -> None:
    run = make_run()
    assert registry.register(run).version == registry.register(run).version == 1


def test_what_is_registered_holds_no_pickle(
    registry: Registry, make_run: MakeRun, tmp_path: Path
) -> None:
    registry.register(make_run())
    files = [p for p in (tmp_path / "runs" / "mlartifacts").rglob("models/**/*") if p.is_file()]
    assert {path.suffix for path in files} <= {
        ".json",
        ".safetensors",
        ".md",
        ".yaml",
        ".txt",
        ".py",
        "",
    }
    assert {path.name for path in files if not path.suffix} <= {"MLmodel", "registered_model_meta"}
    assert any(path.name == "model.safetensors" for path in files)


def test_what_is_registered_says_nothing_of_this_computer(
    registry: Registry, make_run: MakeRun, tmp_path: Path
) -> None:
    registry.register(make_run())
    (package,) = (tmp_path / "runs" / "mlartifacts").rglob("MLmodel")
    assert str(tmp_path) not in package.read_text()
    assert str(Path.cwd()) not in package.read_text()


def test_a_run_without_evaluation_is_refused(registry: Registry, make_run: MakeRun) -> None:
    run = make_run()
    (run / "metrics.json").unlink()
    with pytest.raises(RegistryError, match="never evaluated"):
        registry.register(run)


def test_an_evaluation_of_other_weights_is_refused(registry: Registry, make_run: MakeRun) -> None:
    run = make_run()
    with (run / "model" / "model.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(RegistryError, match="other weights"):
        registry.register(run)


@pytest.mark.parametrize(
    "name", ["weights.pt", "model.pkl", "pytorch_model.bin", "code.py", "x.npy"]
)
def test_files_that_may_carry_code_are_refused(
    registry: Registry, make_run: MakeRun, name: str
) -> None:
    run = make_run()
    (run / "model" / name).write_bytes(b"")
    with pytest.raises(RegistryError, match=name):
        registry.register(run)


def test_a_configuration_that_names_code_is_refused(registry: Registry, make_run: MakeRun) -> None:
    run = make_run()
    config = run / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoModel": "x"}}))
    with pytest.raises(RegistryError, match="auto_map"):
        registry.register(run)


def test_a_link_in_a_model_folder_is_refused(registry: Registry, make_run: MakeRun) -> None:
    run = make_run()
    (run / "model" / "extra.json").symlink_to("/etc/hostname")
    with pytest.raises(RegistryError, match="link"):
        registry.register(run)


def test_the_first_that_beats_the_trivial_becomes_champion(
    registry: Registry, make_run: MakeRun
) -> None:
    registry.register(make_run())
    decision = registry.promote(NAME)
    assert (decision.outcome, decision.champion_before, decision.champion_after) == (
        "first",
        None,
        1,
    )
    (version,) = registry.versions(NAME)
    assert version.decision == "first"
    assert version.aliases == ("challenger", "champion")


def test_one_that_does_not_beat_the_trivial_is_refused(
    registry: Registry, make_run: MakeRun
) -> None:
    registry.register(make_run(beats_trivial=False))
    with pytest.raises(RegistryError, match="No better than a trivial rule"):
        registry.promote(NAME)
    assert registry.models()[0].champion is None
    assert [entry.outcome for entry in registry.ledger(NAME)] == ["refused"]


def test_a_model_measured_on_regions_is_never_promoted(
    registry: Registry, make_run: MakeRun
) -> None:
    registry.register(make_run(estimate="regions of one patient"))
    with pytest.raises(RegistryError, match="no estimate on unseen patients"):
        registry.promote(NAME)


def test_the_better_one_takes_over_and_can_be_rolled_back(
    registry: Registry, make_run: MakeRun
) -> None:
    for key, value in (("a", 0.8), ("b", 0.85), ("c", 0.9)):
        registry.register(make_run(key * 16, value=value))
        registry.promote(NAME)
    (model,) = registry.models()
    assert (model.champion, model.previous_champion, model.challenger) == (3, 2, 3)
    assert registry.rollback(NAME).champion_after == 2
    (model,) = registry.models()
    assert (model.champion, model.previous_champion) == (2, 1)
    registry.rollback(NAME)
    (model,) = registry.models()
    assert (model.champion, model.previous_champion) == (1, None)
    with pytest.raises(RegistryError, match="No previous champion"):
        registry.rollback(NAME)
    outcomes = [entry.outcome for entry in registry.ledger(NAME)]
    assert outcomes == ["first", "promoted", "promoted", "rolled_back", "rolled_back"]


def test_one_that_was_rolled_back_does_not_return(registry: Registry, make_run: MakeRun) -> None:
    for key, value in (("a", 0.8), ("b", 0.9)):
        registry.register(make_run(key * 16, value=value))
        registry.promote(NAME)
    registry.rollback(NAME)
    with pytest.raises(RegistryError, match="rolled back"):
        registry.promote(NAME, 2)


@pytest.mark.parametrize("value", [0.9, 0.7])
def test_one_that_is_no_better_leaves_the_champion(
    registry: Registry, make_run: MakeRun, value: float
) -> None:
    registry.register(make_run("a" * 16, value=0.9))
    registry.promote(NAME)
    registry.register(make_run("b" * 16, value=value))
    decision = registry.promote(NAME)
    assert (decision.outcome, decision.champion_after) == ("kept", 1)
    assert "0.900" in decision.reason
    assert registry.models()[0].champion == 1


@pytest.mark.parametrize("facts", [{"dataset": "0" * 64}, {"split": "0" * 64}])
def test_one_measured_on_other_examples_is_not_compared(
    registry: Registry, make_run: MakeRun, facts: dict[str, Any]
) -> None:
    registry.register(make_run("a" * 16, value=0.5))
    registry.promote(NAME)
    registry.register(make_run("b" * 16, value=0.9, **facts))
    with pytest.raises(RegistryError, match="Not comparable"):
        registry.promote(NAME)
    assert registry.models()[0].champion == 1


def test_unknown_names_and_versions_name_the_known_ones(
    registry: Registry, make_run: MakeRun
) -> None:
    registry.register(make_run())
    with pytest.raises(RegistryError, match=NAME):
        registry.promote("wsi-vit-other")
    with pytest.raises(RegistryError, match="Known: 1"):
        registry.promote(NAME, 7)


def test_a_champion_is_fetched_verified_and_loads(
    registry: Registry, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    registry.register(run)
    registry.promote(NAME)
    folder = registry.resolve(f"models:/{NAME}@champion")
    assert folder.parent == tmp_path / "cache"
    assert load_model(folder).labels == LABELS
    for path in (run / "model").iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert registry.resolve(f"models:/{NAME}/1") == folder


def test_a_damaged_cache_is_fetched_again(registry: Registry, make_run: MakeRun) -> None:
    registry.register(make_run())
    folder = registry.resolve(f"models:/{NAME}/1")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(b"rot" + whole[3:])
    (folder / "evil.pkl").write_bytes(b"")
    assert registry.resolve(f"models:/{NAME}/1") == folder
    assert (folder / "model.safetensors").read_bytes() == whole
    assert not (folder / "evil.pkl").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "labels.json"])
def test_changed_bytes_in_the_registry_are_refused(
    registry: Registry, make_run: MakeRun, tmp_path: Path, name: str
) -> None:
    registry.register(make_run())
    (stored,) = (tmp_path / "runs" / "mlartifacts").rglob(f"artifacts/model/{name}")
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)
    with pytest.raises(RegistryError, match=f"Not the bytes that were registered: {name}"):
        registry.resolve(f"models:/{NAME}/1")
    assert not any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("name", ["weights.pkl", "../evil.json", "/etc/evil.json"])
def test_a_list_of_files_that_was_tampered_with_is_refused(
    registry: Registry, make_run: MakeRun, name: str
) -> None:
    version = registry.register(make_run())
    files = json.dumps(version.files | {name: "0" * 64})
    open_client(registry.uri).set_model_version_tag(NAME, "1", "wsi_vit.model_files", files)
    with pytest.raises(RegistryError, match="refused"):
        registry.resolve(f"models:/{NAME}/1")


def test_a_list_that_does_not_fit_the_digest_is_refused(
    registry: Registry, make_run: MakeRun
) -> None:
    version = registry.register(make_run())
    files = json.dumps(version.files | {"labels.json": "0" * 64})
    open_client(registry.uri).set_model_version_tag(NAME, "1", "wsi_vit.model_files", files)
    with pytest.raises(RegistryError, match="its list of files"):
        registry.resolve(f"models:/{NAME}/1")


def test_a_folder_is_its_own_reference(
    registry: Registry, make_run: MakeRun, tiny_model: Path
) -> None:
    run = make_run()
    assert registry.resolve(str(run)) == run / "model"
    assert registry.resolve(str(tiny_model)) == tiny_model


@pytest.mark.parametrize(
    "reference",
    ["models:/x", "models:/x@a@b", "models:/x/latest", "models:/wsi-vit-demo@champion", "no/where"],
)
def test_what_names_nothing_is_refused(
    registry: Registry, make_run: MakeRun, reference: str
) -> None:
    registry.register(make_run())
    with pytest.raises(RegistryError):
        registry.resolve(reference)


def test_a_registry_that_is_away_is_a_service_error(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="No MLflow server answers"):
        Registry("http://127.0.0.1:9").models()


def test_it_works_through_a_server_too(server: Server, make_run: MakeRun, tmp_path: Path) -> None:
    registry = Registry(server.uri, cache=tmp_path / "cache")
    run = make_run()
    registry.register(run)
    assert registry.promote(NAME).outcome == "first"
    folder = registry.resolve(f"models:/{NAME}@champion")
    assert (folder / "model.safetensors").read_bytes() == (
        run / "model/model.safetensors"
    ).read_bytes()


def test_what_others_registered_by_hand_is_left_out(registry: Registry, make_run: MakeRun) -> None:
    registry.register(make_run())
    client = open_client(registry.uri)
    client.create_model_version(NAME, "/somewhere")
    client.create_registered_model("another")
    (model,) = registry.models()
    assert [version.version for version in model.versions] == [1]


def test_an_evaluation_without_intervals_is_registered(
    registry: Registry, make_run: MakeRun
) -> None:
    run = make_run(estimate="regions of one patient")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["headline"] |= {"low": None, "high": None}
    (run / "metrics.json").write_text(json.dumps(metrics | {"interval_reason": "one patient"}))
    assert registry.register(run).headline.low is None


def test_a_retrained_run_is_a_new_version(registry: Registry, make_run: MakeRun) -> None:
    run = make_run()
    registry.register(run)
    (run / "model" / "card.md").write_text("another")
    write_metrics(run, value=0.99)
    assert registry.register(run).version == 2
    shutil.rmtree(run / "model")
    with pytest.raises(RegistryError, match="No model folder"):
        registry.register(run)
