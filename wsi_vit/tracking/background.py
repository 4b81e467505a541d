"""Feeds MLflow beside the training, which never waits for it."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from wsi_vit.errors import WsiVitError
from wsi_vit.tracking.sync import sync_run


class BackgroundSync:
    """Feeds MLflow while a block runs, and once more when it ends; never stops the block."""

    def __init__(self, run: Path, uri: str, *, every_s: float = 15.0) -> None:
        self._run, self._uri, self._every_s = run, uri, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="mlflow-sync", daemon=True)
        self.problem: WsiVitError | OSError | None = None
        """Why the last sync failed; None if it did not."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._once()

    def _feed(self) -> None:
        while not self._ended.wait(self._every_s):
            self._once()

    def _once(self) -> None:
        try:
            sync_run(self._run, self._uri)
            self.problem = None
        except (WsiVitError, OSError) as problem:
            # Whatever is wrong with the telling, the work that is told about goes on.
            self.problem = problem
