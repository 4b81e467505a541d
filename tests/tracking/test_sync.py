import json
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.tracking.conftest import MakeRun, Server, add_dataset, epoch, write_metrics
from wsi_vit.errors import RegistryError, ServiceError, StoreError
from wsi_vit.tracking.background import BackgroundSync
from wsi_vit.tracking.client import open_client
from wsi_vit.tracking.journal import Journal
from wsi_vit.tracking.sync import CURSOR, sync_run


def points(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)]


def only_run(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("wsi-vit-demo")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == 1
    return found[0]


def test_a_finished_run_is_all_in_mlflow(make_run: MakeRun, uri: str) -> None:
    synced = sync_run(make_run(), uri)
    client = open_client(uri)
    run = only_run(client)
    assert run.info.run_id == synced.run_id
    assert run.info.status == "FINISHED"
    assert points(client, synced.run_id, "train_loss") == [(1, 1.0), (2, 0.5)]
    assert points(client, synced.run_id, "validation/macro_f1") == [(1, 0.6), (2, 0.7)]
    assert run.data.params == {"name": "demo", "training.epochs": "2", "training.seed": "0"}
    assert run.data.metrics["test/macro_f1"] == 0.9
    assert run.data.metrics["test/tile/macro_f1_low"] == 0.8
    assert run.data.metrics["test/class/tumour/macro_f1"] == 0.9
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.tags[CURSOR] == "4"


def test_its_report_and_figures_are_artefacts_beside_the_database(
    make_run: MakeRun, uri: str, tmp_path: Path
) -> None:
    synced = sync_run(make_run(), uri)
    assert set(synced.files) == {
        "recipe.yaml", "metrics.json", "report.html", "figures/confusion.png",
    }  # fmt: skip
    root = tmp_path / "runs" / "mlartifacts" / "wsi-vit-demo"
    assert (root / synced.run_id / "artifacts" / "figures" / "confusion.png").is_file()


def test_the_dataset_is_named_with_its_digest_and_its_sources(
    make_run: MakeRun, uri: str, tmp_path: Path
) -> None:
    run = make_run()
    digest = add_dataset(run, tmp_path / "store")
    for _ in range(2):
        sync_run(run, uri)
    inputs = only_run(open_client(uri)).inputs.dataset_inputs
    assert len(inputs) == 1
    dataset = inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("colon", digest[:36])
    assert json.loads(dataset.source)["digest"] == digest
    assert json.loads(dataset.profile or "")["inputs"] == {"slide-a": "a" * 64}
    assert "secret-name" not in (dataset.profile or "")


def test_a_second_sync_sends_nothing(make_run: MakeRun, uri: str) -> None:
    run = make_run()
    first, second = sync_run(run, uri), sync_run(run, uri)
    assert first.points == 6
    assert (second.points, second.files) == (0, ())
    assert second.run_id == first.run_id


def test_points_come_as_the_run_goes_on(make_run: MakeRun, uri: str) -> None:
    run = make_run()
    journal = Journal(run / "journal.jsonl")
    synced = sync_run(run, uri)
    journal.append("attempt", {"number": 2})
    journal.append("epoch", epoch(3))
    assert sync_run(run, uri).points == 3
    client = open_client(uri)
    assert [step for step, _ in points(client, synced.run_id, "train_loss")] == [1, 2, 3]
    assert only_run(client).info.status == "RUNNING"
    assert only_run(client).data.tags["wsi_vit.attempts"] == "2"
    journal.append("failed", {"error": "the loss is not finite"})
    sync_run(run, uri)
    assert only_run(client).info.status == "FAILED"


def test_an_epoch_told_twice_is_one_point_whenever_the_sync_comes(
    make_run: MakeRun, uri: str
) -> None:
    early, late = make_run("a" * 16), make_run("b" * 16)
    sync_run(early, uri)
    for run in (early, late):
        journal = Journal(run / "journal.jsonl")
        journal.append("attempt", {"number": 2})
        journal.append("epoch", epoch(2, loss=0.123))
        journal.append("epoch", epoch(3))
    client = open_client(uri)
    told = [points(client, sync_run(run, uri).run_id, "train_loss") for run in (early, late)]
    assert told[0] == told[1] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_points_that_arrived_without_their_cursor_are_not_sent_again(
    make_run: MakeRun, uri: str
) -> None:
    run = make_run()
    journal = Journal(run / "journal.jsonl")
    synced = sync_run(run, uri)
    journal.append("epoch", epoch(3))
    client = open_client(uri)
    client.log_metric(synced.run_id, "train_loss", 1 / 3, timestamp=1, step=3)
    assert sync_run(run, uri).points == 2
    assert points(client, synced.run_id, "train_loss") == [(3, 1 / 3), (1, 1.0), (2, 0.5)]


@pytest.mark.parametrize("loss", ["removed", "damaged"])
def test_without_its_bookmark_a_run_is_found_by_its_key(
    make_run: MakeRun, uri: str, loss: str
) -> None:
    run = make_run()
    first = sync_run(run, uri)
    (bookmark,) = run.glob(".mlflow-*.json")
    bookmark.unlink() if loss == "removed" else bookmark.write_text('{"run')
    second = sync_run(run, uri)
    assert second.run_id == first.run_id
    assert second.points == 0
    only_run(open_client(uri))


def test_a_copy_of_the_folder_elsewhere_feeds_the_same_run(
    make_run: MakeRun, uri: str, tmp_path: Path
) -> None:
    run = make_run()
    elsewhere = tmp_path / "elsewhere" / "demo" / run.name
    shutil.copytree(run, elsewhere)
    Journal(elsewhere / "journal.jsonl").append("epoch", epoch(3))
    first, second = sync_run(run, uri), sync_run(elsewhere, uri)
    assert second.run_id == first.run_id
    assert second.points == 3


def test_a_database_restored_from_older_days_is_fed_what_it_lost(
    make_run: MakeRun, uri: str, seed_db: Path
) -> None:
    run = make_run()
    sync_run(run, uri)
    shutil.copy(seed_db, Path(uri.removeprefix("sqlite:///")))
    again = sync_run(run, uri)
    assert again.points == 6
    assert "report.html" in again.files


def test_a_new_evaluation_replaces_what_mlflow_shows(make_run: MakeRun, uri: str) -> None:
    run = make_run()
    sync_run(run, uri)
    time.sleep(0.01)
    write_metrics(run, value=0.95)
    assert sync_run(run, uri).files == ("metrics.json",)
    assert only_run(open_client(uri)).data.metrics["test/macro_f1"] == 0.95


def test_long_and_odd_settings_fit_mlflow(make_run: MakeRun, uri: str) -> None:
    run = make_run()
    names = "".join(f"  key{n}: {n}\n" for n in range(150))
    (run / "recipe.yaml").write_text(
        f"long: {'x' * 9000}\n'späte (µm)': [1, {{a: 2}}]\nmany:\n{names}"
    )
    sync_run(run, uri)
    params = only_run(open_client(uri)).data.params
    assert len(params) == 152
    assert params["long"].endswith("…") and len(params["long"]) == 6000
    assert params["sp_te __m_"] == '[1, {"a": 2}]'


def test_more_points_than_a_batch_holds_all_arrive(make_run: MakeRun, uri: str) -> None:
    run = make_run()
    journal = Journal(run / "journal.jsonl")
    many = {f"class {n}": n / 7 for n in range(700)}
    for number in (3, 4, 5):
        journal.append("epoch", {"number": number, "iou": many})
    synced = sync_run(run, uri)
    assert synced.points == 6 + 2100
    client = open_client(uri)
    for n in (0, 299, 699):
        assert len(points(client, synced.run_id, f"iou/class {n}")) == 3


def test_a_folder_that_is_no_run_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="No run there"):
        sync_run(tmp_path / "nothing", uri)


def test_odd_metrics_are_refused_with_the_fields_that_lack(make_run: MakeRun, uri: str) -> None:
    run = make_run()
    (run / "metrics.json").write_text('{"headline": {"name": "f1", "value": 1}}')
    with pytest.raises(RegistryError, match="beats_trivial, dataset_digest, estimate"):
        sync_run(run, uri)


def test_a_server_that_is_away_is_told_within_seconds(make_run: MakeRun) -> None:
    began = time.monotonic()
    with pytest.raises(ServiceError, match=r"No MLflow server answers.*make up"):
        sync_run(make_run(), "http://someone:secret@127.0.0.1:9")
    assert time.monotonic() - began < 5


def test_no_password_is_shown(make_run: MakeRun) -> None:
    with pytest.raises(ServiceError) as raised:
        sync_run(make_run(), "http://someone:secret@127.0.0.1:9")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_is_no_database_is_refused(
    make_run: MakeRun, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(ServiceError):
        sync_run(make_run(), f"sqlite:///{tmp_path}/mlflow.db")
    assert (tmp_path / "mlflow.db").read_bytes() == content


def test_an_outage_loses_and_doubles_nothing(make_run: MakeRun, server: Server) -> None:
    run = make_run()
    journal = Journal(run / "journal.jsonl")
    synced = sync_run(run, server.uri)
    server.stop()
    journal.append("epoch", epoch(3))
    with pytest.raises(ServiceError):
        sync_run(run, server.uri)
    journal.append("epoch", epoch(4))
    server.restart()
    assert sync_run(run, server.uri).points == 6
    told = points(open_client(server.uri), synced.run_id, "train_loss")
    assert told == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]


@pytest.mark.parametrize(
    "call", ["runs/create", "runs/log-batch", "runs/log-inputs", "runs/update"]
)
def test_an_answer_that_got_lost_doubles_nothing(
    make_run: MakeRun, server: Server, tmp_path: Path, call: str
) -> None:
    run = make_run()
    add_dataset(run, tmp_path / "store")
    server.lose_answers_to = call
    with pytest.raises(ServiceError):
        sync_run(run, server.uri)
    for _ in range(2):  # each gets a step further, since what was asked for was done
        with suppress(ServiceError):
            sync_run(run, server.uri)
    server.lose_answers_to = None
    synced = sync_run(run, server.uri)
    client = open_client(server.uri)
    assert only_run(client).info.run_id == synced.run_id
    assert points(client, synced.run_id, "train_loss") == [(1, 1.0), (2, 0.5)]
    assert only_run(client).info.status == "FINISHED"


def test_training_goes_on_beside_a_dead_mlflow_and_a_living_one(
    make_run: MakeRun, server: Server
) -> None:
    run = make_run()
    journal = Journal(run / "journal.jsonl")
    server.stop()
    with BackgroundSync(run, server.uri, every_s=0.05) as background:
        journal.append("epoch", epoch(3))
        deadline = time.monotonic() + 10
        while background.problem is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert isinstance(background.problem, ServiceError)
        server.restart()
        journal.append("epoch", epoch(4))
    assert background.problem is None
    client = open_client(server.uri)
    told = points(client, only_run(client).info.run_id, "train_loss")
    assert [step for step, _ in told] == [1, 2, 3, 4]


def test_training_goes_on_whatever_is_wrong_with_the_telling(make_run: MakeRun, uri: str) -> None:
    run = make_run()
    (run / "metrics.json").write_text("{}")
    with BackgroundSync(run, uri, every_s=60) as background:
        pass
    assert isinstance(background.problem, RegistryError)
    (run / "journal.jsonl").write_text("}{\n")
    with BackgroundSync(run, uri, every_s=60) as background:
        pass
    assert isinstance(background.problem, StoreError)
