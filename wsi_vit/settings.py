"""Where things go and which servers serve: one object for embedded, compose and cluster set-ups.

Every field is read from an environment variable `WSI_VIT_<FIELD>`; nothing here shapes a result.
"""

import os
from functools import cached_property
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The environment of a run."""

    model_config = SettingsConfigDict(env_prefix="WSI_VIT_", frozen=True, extra="ignore")

    runs: Path = Path("runs")
    """Folder of runs, derived data and, by default, the MLflow database."""
    mlflow_uri: str | None = None
    """Tracking server; absent: an SQLite database in `runs`."""
    workers: int = Field(default_factory=lambda: min(8, os.cpu_count() or 1), ge=1)
    """Slides tiled side by side."""
    device: str | None = None
    """`cuda`, `cuda:1` or `cpu`; absent: the first GPU, else the CPU."""

    @property
    def store_root(self) -> Path:
        """Folder of derived data."""
        return self.runs / "store"

    @cached_property
    def tracking_uri(self) -> str:
        """The MLflow tracking URI in force."""
        return self.mlflow_uri or f"sqlite:///{(self.runs / 'mlflow.db').resolve()}"
