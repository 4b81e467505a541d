import json
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from wsi_vit.labels import LabelClass, LabelMap
from wsi_vit.models.building import build_model
from wsi_vit.models.sections import ClassifierSection
from wsi_vit.models.start import ConfigStart
from wsi_vit.store import Shape, Store, file_digest
from wsi_vit.tracking.client import open_client
from wsi_vit.tracking.journal import Journal

LABELS = LabelMap(
    classes=(
        LabelClass(name="tumour", colour="#d55e00", export_id=7),
        LabelClass(name="normal", colour="#009e73", export_id=3),
    )
)


SQLALCHEMY = "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
"""MLflow 3.17 asks SQLAlchemy 2.1 in a way that the next one will not know; users never see it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings(SQLALCHEMY))


@pytest.fixture(scope="session")
def seed_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database that was migrated once; tests copy it."""
    path = tmp_path_factory.mktemp("seed") / "still-to-be-made" / "mlflow.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(seed_db: Path, tmp_path: Path) -> str:
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(seed_db, runs / "mlflow.db")
    return f"sqlite:///{runs}/mlflow.db"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `model/` folder of a real, very small ViT."""
    torch.manual_seed(0)
    options = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "patch_size": 8,
    }
    section = ClassifierSection(start=ConfigStart(options=options), input_px=32)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    build_model(section, LABELS, "classification").save(folder)
    return folder


MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path, tiny_model: Path) -> MakeRun:
    """Make a finished run of two epochs, whose facts can be chosen."""

    def make(key: str = "0123456789abcdef", *, recipe: str = "demo", **facts: Any) -> Path:
        run = tmp_path / "runs" / recipe / key
        shutil.copytree(tiny_model, run / "model")
        (run / "model" / "card.md").write_text(f"# {key}\n")
        (run / "recipe.yaml").write_text("name: demo\ntraining:\n  epochs: 2\n  seed: 0\n")
        write_metrics(run, **facts)
        (run / "report.html").write_text("<h1>demo</h1>")
        (run / "figures").mkdir()
        (run / "figures" / "confusion.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        write_journal(Journal(run / "journal.jsonl"), epochs=2)
        return run

    return make


def write_journal(journal: Journal, *, epochs: int) -> None:
    journal.append("attempt", {"number": 1, "git_commit": "c0ffee"})
    for number in range(1, epochs + 1):
        journal.append("epoch", epoch(number))
    journal.append("finished", {"epochs": epochs})


def epoch(number: int, *, loss: float | None = None) -> dict[str, Any]:
    """A record as the training room writes it."""
    return {
        "number": number,
        "train_loss": 1 / number if loss is None else loss,
        "validation": {
            "loss": 0.5,
            "metric": "macro_f1",
            "value": 0.5 + number / 10,
            "counts": [[1, 0], [0, 1]],
        },
        "best": True,
        "device": "cpu",
    }


def write_metrics(
    run: Path,
    *,
    value: float | None = 0.9,
    dataset: str = "d" * 64,
    split: str = "e" * 64,
    estimate: str = "unseen patients",
    beats_trivial: bool = True,
) -> None:
    score = {"name": "macro_f1", "value": value, "low": 0.8, "high": 0.95}
    metrics = {
        "schema_version": 1,
        "headline": score,
        "estimate": estimate,
        "dataset_digest": dataset,
        "split_digest": split,
        "model_digest": file_digest(run / "model" / "model.safetensors"),
        "beats_trivial": beats_trivial,
        "levels": [{"level": "tile", "items": 4, "how": "as is", "scores": [score]}],
        "classes": [{"name": "tumour", "support": 2, "scores": [score]}],
    }
    (run / "metrics.json").write_text(json.dumps(metrics))


def add_dataset(run: Path, store: Path) -> str:
    """Link a real artefact as the run's dataset; return its digest."""
    shape = Shape.of("dataset", 1, sections={}, inputs={"slide-a": "a" * 64})

    def build(folder: Path) -> dict[str, Any]:
        (folder / "state.json").write_text("{}")
        return {"name": "colon", "split_digest": "e" * 64, "patients": ["secret-name"]}

    artefact = Store(store).ensure(shape, build)
    (run / "dataset").symlink_to(artefact.folder)
    return artefact.digest


class Server:
    """MLflow's own REST application behind a real socket; it can go away, come back, and lie."""

    def __init__(self, db: Path) -> None:
        self.db = db
        self.lose_answers_to: str | None = None
        """Requests to a path with this ending are carried out, but their answers get lost."""
        self._start(port=0)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def restart(self) -> None:
        self._start(port=int(self.uri.rpartition(":")[2]))

    def _start(self, *, port: int) -> None:
        from werkzeug.serving import make_server

        self._server = make_server("127.0.0.1", port, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        from mlflow.server import app

        if self.lose_answers_to and environ["PATH_INFO"].endswith(self.lose_answers_to):
            b"".join(app(environ, lambda *_: None))
            start_response("502 Bad Gateway", [])
            return [b""]
        return app(environ, start_response)


@pytest.fixture
def server(seed_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    db = tmp_path / "server" / "mlflow.db"
    db.parent.mkdir()
    shutil.copy(seed_db, db)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # the server sets both for good
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(db.parent / "artifacts"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.server.fastapi_app  # noqa: F401  (its import warns of starlette's plans)
        from mlflow.server import handlers
    for name in ("_tracking_store", "_model_registry_store", "_artifact_repo"):
        monkeypatch.setattr(handlers, name, None)
    handlers._get_tracking_store(f"sqlite:///{db}", "mlflow-artifacts:/")
    handlers._get_model_registry_store(f"sqlite:///{db}")
    running = Server(db)
    yield running
    running.stop()
