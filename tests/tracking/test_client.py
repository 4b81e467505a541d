from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from wsi_vit.errors import RegistryError, ServiceError
from wsi_vit.tracking.client import (
    absolute_uri,
    artifact_root,
    experiment_id,
    open_client,
    shown,
    speaking_to,
)


def test_an_address_means_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///runs/mlflow.db") == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert absolute_uri(f"sqlite:///{tmp_path}/a.db") == f"sqlite:///{tmp_path}/a.db"
    assert absolute_uri("http://host:5000/") == "http://host:5000"


def test_artefacts_lie_beside_the_database_or_where_the_server_says(tmp_path: Path) -> None:
    assert artifact_root(f"sqlite:///{tmp_path}/mlflow.db") == tmp_path / "mlartifacts"
    assert artifact_root("http://host:5000") is None


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("https://me:a@b@host", "https://host"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:///runs/me@home/mlflow.db", "sqlite:///runs/me@home/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, expected: str) -> None:
    assert shown(uri) == expected


def test_an_experiment_is_made_once(uri: str) -> None:
    client = open_client(uri)
    first = experiment_id(client, recipe="demo", uri=uri)
    assert experiment_id(client, recipe="demo", uri=uri) == first
    assert client.get_experiment(first).name == "wsi-vit-demo"


def test_a_deleted_experiment_is_not_revived_in_silence(uri: str) -> None:
    client = open_client(uri)
    client.delete_experiment(experiment_id(client, recipe="demo", uri=uri))
    with pytest.raises(ServiceError, match="deleted in MLflow"):
        experiment_id(client, recipe="demo", uri=uri)


@pytest.mark.parametrize("error", [MlflowException("no"), ConnectionError("no")])
def test_what_is_not_of_mlflow_passes_through(error: Exception) -> None:
    expected = ServiceError if isinstance(error, MlflowException) else ConnectionError
    with pytest.raises(expected), speaking_to("http://host"):
        raise error


def test_our_own_errors_keep_their_names() -> None:
    with pytest.raises(RegistryError), speaking_to("http://host"):
        raise RegistryError("No", remedy="none")


def test_a_folder_in_the_place_of_a_database_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="cannot be opened"):
        open_client(f"sqlite:///{tmp_path}")
