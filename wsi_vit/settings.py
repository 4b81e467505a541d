"""Where things go and which servers serve: one object for embedded, compose and cluster set-ups.

Every field is read from an environment variable `WSI_VIT_<FIELD>`; nothing here shapes a result.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from wsi_vit.errors import UsageError

_KERNELS = "TORCHINDUCTOR_CACHE_DIR"
"""Where torch keeps what it compiled; by itself in a temporary folder, which a container loses."""


class Settings(BaseSettings):
    """The environment of a run.

    Raises:
        UsageError: A variable has no sensible value; all of them are listed.
    """

    model_config = SettingsConfigDict(env_prefix="WSI_VIT_", frozen=True, extra="ignore")

    runs: Path = Path("runs")
    """Folder of runs, derived data, compiled kernels and, by default, the MLflow database."""
    mlflow_uri: str | None = None
    """Tracking server; absent: an SQLite database in `runs`."""
    workers: int = Field(default_factory=lambda: min(8, os.cpu_count() or 1), ge=1)
    """Slides tiled side by side."""
    device: str | None = Field(default=None, pattern=r"^(cpu|cuda(:\d+)?)$")
    """`cuda`, `cuda:1` or `cpu`; absent: the first GPU, else the CPU."""

    @property
    def store_root(self) -> Path:
        """Folder of derived data."""
        return self.runs / "store"

    @cached_property
    def tracking_uri(self) -> str:
        """The MLflow tracking URI in force."""
        return self.mlflow_uri or f"sqlite:///{(self.runs / 'mlflow.db').resolve()}"

    @contextmanager
    def in_environment(self) -> Generator[None]:
        """Let what reads the environment find these settings: processes we start, Accelerate."""
        mine = {
            "WSI_VIT_RUNS": str(self.runs.resolve()),
            "WSI_VIT_MLFLOW_URI": self.tracking_uri,
            "WSI_VIT_DEVICE": self.device,
            "ACCELERATE_TORCH_DEVICE": self.device,
            "ACCELERATE_USE_CPU": "true" if self.device == "cpu" else None,
            _KERNELS: os.environ.get(_KERNELS) or str((self.runs / "compiled").resolve()),
        }
        before = {name: os.environ.get(name) for name in mine}
        _set_variables({name: value for name, value in mine.items() if value})
        try:
            yield
        finally:
            _set_variables(before)

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            faults = [f"{_variable(f['loc'])}={f['input']}: {f['msg']}" for f in error.errors()]
            raise UsageError(
                "The environment cannot be used",
                got="; ".join(faults),
                remedy="Mend or unset these variables",
            ) from None


def _variable(place: tuple[int | str, ...]) -> str:
    return f"WSI_VIT_{place[0]}".upper() if place else "WSI_VIT"


def _set_variables(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
