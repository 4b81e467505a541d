"""The way to MLflow: one client an address, quick to say that nobody is there.

MLflow's own patience with a dead server is 246 seconds; nothing of ours waits that long. What fails
comes out as `ServiceError`.
"""

import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from wsi_vit.errors import ServiceError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_PROBE_S = 3.0
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A request that failed is made again by the next sync, which first looks what arrived.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def absolute_uri(uri: str) -> str:
    """Return a tracking address that means the same from every folder."""
    if not uri.startswith(_SQLITE):
        return uri.rstrip("/")
    return _SQLITE + str(Path(uri.removeprefix(_SQLITE)).absolute())


def artifact_root(uri: str) -> Path | None:
    """Return the folder `mlartifacts` beside an SQLite file; None where a server decides."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(absolute_uri(uri).removeprefix(_SQLITE)).parent / "mlartifacts"


def open_client(uri: str) -> "MlflowClient":
    """Return a client of the tracking server and registry at an address.

    Raises:
        ServiceError: Nobody answers there within three seconds, or the file is no database.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if uri.startswith(_SQLITE):
        _check_file(Path(absolute_uri(uri).removeprefix(_SQLITE)))
    elif uri.startswith(("http://", "https://")):
        _check_server(uri)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=absolute_uri(uri), registry_uri=absolute_uri(uri))


@contextmanager
def pyfunc() -> Generator[ModuleType]:
    """Yield `mlflow.pyfunc`, silent about its own type hints and about examples we do not give."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
        warnings.filterwarnings("ignore", message=".*An input example was not provided")
        import mlflow.pyfunc

        yield mlflow.pyfunc


def experiment_id(client: "MlflowClient", *, recipe: str, uri: str) -> str:
    """Return the experiment `wsi-vit-<recipe>`, making it where it is missing.

    Beside an SQLite file the artefacts lie in `mlartifacts/<experiment>`, by absolute path.

    Raises:
        ServiceError: The experiment was deleted in MLflow.
    """
    from mlflow.exceptions import MlflowException

    name, root = f"wsi-vit-{recipe}", artifact_root(uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(
                name, artifact_location=None if root is None else (root / name).as_uri()
            )
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was quicker
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ServiceError(
            "The experiment was deleted in MLflow",
            got=name,
            remedy="Restore it (mlflow experiments restore), or remove it for good (mlflow gc)",
        )
    return found.experiment_id


@contextmanager
def speaking_to(uri: str) -> Generator[None]:
    """Turn whatever MLflow, its database or the network raise into a `ServiceError`."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, requests.RequestException) as error:
        first_line = str(error).strip().split("\n", 1)[0][:300]
        raise ServiceError(
            f"MLflow did not do what it was asked ({error.__class__.__name__}: {first_line})",
            got=shown(uri),
            remedy="The journal keeps everything; once MLflow is well, run wsi-vit sync",
        ) from error


def shown(uri: str) -> str:
    """Return an address without the name and password it may carry."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.startswith("sqlite"):
        return uri
    authority, slash, path = rest.partition("/")
    return scheme + separator + authority.rpartition("@")[2] + slash + path


def _check_server(uri: str) -> None:
    """Ask for `/health` without the address's password, which that page does not want."""
    url = shown(uri).rstrip("/") + "/health"
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_S):  # scheme checked by the caller
            return
    except (OSError, ValueError) as error:
        raise ServiceError(
            f"No MLflow server answers ({getattr(error, 'reason', error)})",
            got=shown(uri),
            remedy="Start it (make up) or name another; the journal keeps everything until then",
        ) from error


def _check_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise ServiceError(
            f"The MLflow database cannot be opened: {error.strerror}",
            got=path,
            remedy="Mend the path or its permissions, or name another tracking address",
        ) from error
    if head and head != b"SQLite format 3\0":
        raise ServiceError(
            "Not an SQLite database",
            got=path,
            remedy="Name the mlflow.db of your runs folder, or move this file away",
        )
