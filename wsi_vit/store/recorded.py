"""A finished result: an artefact, and the record in it that says what was made of what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

from pydantic import BaseModel

from wsi_vit.store.artefact import Artefact

_Record = TypeVar("_Record", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[_Record]):
    """An artefact with what its record says."""

    artefact: Artefact
    record: _Record

    @classmethod
    def read(cls, artefact: Artefact, name: str, kind: type[_Record]) -> Self:
        """Read what an artefact's file `name` says."""
        text = (artefact.folder / name).read_text(encoding="utf-8")
        return cls(artefact, kind.model_validate_json(text))

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.artefact.folder

    @property
    def reused(self) -> bool:
        """Whether it had been made before."""
        return self.artefact.reused


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record as JSON that people can read."""
    path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
