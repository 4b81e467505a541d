"""MLflow is fed from the journal: every point exactly once, in order, whenever MLflow is there.

MLflow's run carries, as a tag sent with each batch, the number of the journal's last record that it
has wholly been told; MLflow keeps the points first and the tag after them. An acknowledgement may
have been lost, so what the run holds of the next batch is asked for before anything is sent. A
bookmark beside the journal names the run and the files it was given; without it the run is found by
its key. So a lost bookmark, another computer or a restored database ends with the same points.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wsi_vit.section import Section
from wsi_vit.store import file_digest
from wsi_vit.tracking.bookmark import Bookmark, bookmark_of, read_bookmark, write_bookmark
from wsi_vit.tracking.client import experiment_id, open_client, speaking_to
from wsi_vit.tracking.journal import ATTEMPT, EPOCH, FAILED, FINISHED
from wsi_vit.tracking.points import (
    POINTS_A_BATCH,
    Point,
    batches,
    points_of,
    safe_key,
    score_points,
    short_value,
)
from wsi_vit.tracking.run_folder import RunFolder, flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

RUN_KEY, CURSOR = "wsi_vit.run_key", "wsi_vit.journal_cursor"
_PARAMS_A_BATCH = 100
_DIGEST_CHARACTERS = 36
_STATES = {FINISHED: "FINISHED", FAILED: "FAILED", ATTEMPT: "RUNNING", EPOCH: "RUNNING"}


class Synced(Section):
    """What a sync did."""

    experiment: str
    run_id: str
    points: int
    """Points that were sent; 0 where MLflow had them all."""
    files: tuple[str, ...]
    """Files that were sent, by path in the run's folder."""
    sequence: int
    """The journal's last record that MLflow now knows."""


def sync_run(run: Path, uri: str) -> Synced:
    """Bring everything a run has said so far to the MLflow at an address.

    Safe to call at any time, also while the run trains, and from several processes.

    Raises:
        ServiceError: MLflow cannot be reached, or broke off; a later call goes on from there.
        StoreError: The journal is damaged.
        RegistryError: The folder is no run, or its metrics.json is not an evaluation.
    """
    folder = RunFolder.at(run)
    with bookmark_of(folder.path, uri) as bookmark, speaking_to(uri):
        return _Feed(folder, uri, bookmark).go()


class _Feed:
    """One sync of one run with one MLflow."""

    def __init__(self, folder: RunFolder, uri: str, bookmark: Path) -> None:
        self.folder, self.uri, self.path = folder, uri, bookmark
        self.client: MlflowClient = open_client(uri)

    def go(self) -> Synced:
        run, bookmark = self._find_run()
        self._send_params(run)
        self._send_dataset(run)
        sent = self._send_points(bookmark)
        self._send_scores(run)
        files = self._send_files(self._bookmark(run))
        self._send_state(run)
        final = self._bookmark(run)
        return Synced(
            experiment=f"wsi-vit-{self.folder.recipe}",
            run_id=run.info.run_id,
            points=sent,
            files=tuple(files),
            sequence=final.sequence,
        )

    def _find_run(self) -> "tuple[Run, Bookmark]":
        run = self._marked_run() or self._keyed_run() or self._new_run()
        known = read_bookmark(self.path)
        sequence = int(run.data.tags.get(CURSOR, "0"))
        if known is None or known.run_id != run.info.run_id or known.sequence > sequence:
            known = Bookmark(run_id=run.info.run_id)  # another run, or one restored from older days
        bookmark = known.model_copy(update={"sequence": sequence})
        write_bookmark(self.path, bookmark)
        return run, bookmark

    def _marked_run(self) -> "Run | None":
        from mlflow.exceptions import MlflowException

        bookmark = read_bookmark(self.path)
        if bookmark is None:
            return None
        try:
            run = self.client.get_run(bookmark.run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _keyed_run(self) -> "Run | None":
        """Look for the run by its key: one whose making was never acknowledged is found here."""
        found = self.client.search_runs(
            [self._experiment()],
            filter_string=f"tags.`{RUN_KEY}` = '{self.folder.key}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        return found[0] if found else None

    def _new_run(self) -> "Run":
        first = next(self.folder.journal.read(), None)
        return self.client.create_run(
            self._experiment(),
            start_time=first.time_ms if first else None,
            run_name=self.folder.key[:16],
            tags={RUN_KEY: self.folder.key, "wsi_vit.recipe": self.folder.recipe},
        )

    def _experiment(self) -> str:
        return experiment_id(self.client, recipe=self.folder.recipe, uri=self.uri)

    def _send_params(self, run: "Run") -> None:
        """Send what the run lacks: MLflow takes a parameter once and never again."""
        from mlflow.entities import Param

        params = {
            safe_key(key): short_value(value)
            for key, value in flatten(self.folder.settings()).items()
        }
        missing = [Param(k, v) for k, v in params.items() if k not in run.data.params]
        for start in range(0, len(missing), _PARAMS_A_BATCH):
            self.client.log_batch(run.info.run_id, params=missing[start : start + _PARAMS_A_BATCH])

    def _send_dataset(self, run: "Run") -> None:
        """Name the dataset with its digest, and what it was made from."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        manifest = self.folder.dataset()
        if manifest is None or (run.inputs and run.inputs.dataset_inputs):
            return
        source = {"digest": manifest.digest, "stage": manifest.shape.stage, "key": manifest.key}
        facts = {name: manifest.facts.get(name) for name in ("split_digest", "estimate")}
        dataset = Dataset(
            name=str(manifest.facts.get("name") or self.folder.recipe),
            digest=manifest.digest[:_DIGEST_CHARACTERS],
            source_type="wsi-vit",
            source=json.dumps(source),
            profile=json.dumps(facts | {"inputs": manifest.shape.inputs}, default=str),
        )
        context = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(run.info.run_id, datasets=[DatasetInput(dataset, [context])])

    def _send_points(self, bookmark: Bookmark) -> int:
        from mlflow.entities import RunTag

        records = list(self.folder.journal.read())
        last = records[-1].sequence if records else 0
        points = [p for p in points_of(records) if p.sequence > bookmark.sequence]
        held = self._held(bookmark.run_id, points[: 2 * POINTS_A_BATCH])
        sent = 0
        for batch, through in batches(points, last=last):
            new = [point for point in batch if point.place not in held]
            self.client.log_batch(
                bookmark.run_id,
                metrics=[_metric(point) for point in new],
                tags=[RunTag(CURSOR, str(through))],
            )
            bookmark = bookmark.model_copy(update={"sequence": through})
            write_bookmark(self.path, bookmark)
            sent += len(new)
        return sent

    def _held(self, run_id: str, points: list[Point]) -> set[tuple[str, int]]:
        """Ask which of these the run holds: the batch after the last acknowledged one may be."""
        keys = {point.key for point in points}
        return {
            (key, metric.step)
            for key in keys
            for metric in self.client.get_metric_history(run_id, key)
        }

    def _send_scores(self, run: "Run") -> None:
        """Send the figures of the evaluation, each as a metric with the bounds of its interval."""
        from mlflow.entities import Metric, RunTag

        results = self.folder.results()
        if results is None:
            return
        time_ms = int((self.folder.path / "metrics.json").stat().st_mtime * 1000)
        scores = [results.headline, *results.named()]
        values = {key: value for score in scores for key, value in score_points(score)}
        new = {k: v for k, v in values.items() if run.data.metrics.get(k) != v}
        facts = {
            "wsi_vit.estimate": results.estimate,
            "wsi_vit.beats_trivial": str(results.beats_trivial).lower(),
        }
        self._send_tags(run, facts)
        metrics = [Metric(key, value, time_ms, 0) for key, value in new.items()]
        for start in range(0, len(metrics), POINTS_A_BATCH):
            chunk = metrics[start : start + POINTS_A_BATCH]
            self.client.log_batch(
                run.info.run_id, metrics=chunk, tags=[RunTag("wsi_vit.evaluated", str(time_ms))]
            )

    def _send_files(self, bookmark: Bookmark) -> list[str]:
        """Send the files that changed since they were last sent."""
        sent: list[str] = []
        for path in self.folder.reported_files():
            name, digest = path.relative_to(self.folder.path).as_posix(), file_digest(path)
            if bookmark.files.get(name) == digest:
                continue
            place = path.parent.relative_to(self.folder.path).as_posix()
            self.client.log_artifact(bookmark.run_id, str(path), None if place == "." else place)
            bookmark = bookmark.model_copy(update={"files": bookmark.files | {name: digest}})
            write_bookmark(self.path, bookmark)
            sent.append(name)
        return sent

    def _send_state(self, run: "Run") -> None:
        commit = self.folder.git_commit()
        self._send_tags(
            run,
            {
                "wsi_vit.recipe_digest": self.folder.recipe_digest(),
                "wsi_vit.attempts": str(len(self.folder.attempts())),
                "mlflow.source.git.commit": commit,
            },
        )
        told = [record for record in self.folder.journal.read() if record.kind in _STATES]
        if not told or _STATES[told[-1].kind] == run.info.status:
            return
        state = _STATES[told[-1].kind]
        if state == "RUNNING":
            self.client.update_run(run.info.run_id, status=state)
        else:
            self.client.set_terminated(run.info.run_id, state, end_time=told[-1].time_ms)

    def _send_tags(self, run: "Run", tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        new = [RunTag(k, v) for k, v in tags.items() if run.data.tags.get(k) != v]
        if new:
            self.client.log_batch(run.info.run_id, tags=new)

    def _bookmark(self, run: "Run") -> Bookmark:
        return read_bookmark(self.path) or Bookmark(run_id=run.info.run_id)


def _metric(point: Point) -> "Metric":
    from mlflow.entities import Metric

    return Metric(point.key, point.value, point.time_ms, point.step)
