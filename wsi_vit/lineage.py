"""What shaped a piece of derived data: the chain from it down to the slides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from wsi_vit.section import Section
from wsi_vit.store import Artefact, Store, read_manifest

_LONGEST = 96
"""Characters of a setting that a line shows."""


class Cause(Section):
    """One artefact, the settings that shaped it, and what went into it."""

    role: str
    """What it is to the artefact above."""
    stage: str
    digest: str
    folder: Path | None = None
    """Where it lies; None for an input that the store does not hold, such as a slide."""
    sections: dict[str, Any] = Field(default_factory=dict)
    causes: tuple["Cause", ...] = ()

    def lines(self, depth: int = 0) -> Iterator[str]:
        """Yield the tree as indented lines."""
        indent = "  " * depth
        place = f"  {self.folder}" if self.folder else ""
        yield f"{indent}{self.role}: {self.stage} {self.digest[:16]}{place}"
        for name, section in self.sections.items():
            yield f"{indent}    {name} = {_shortened(section)}"
        for cause in self.causes:
            yield from cause.lines(depth + 1)


def explain_artefact(folder: Path, store_root: Path) -> Cause:
    """Return what shaped the artefact in a folder.

    Raises:
        StoreError: The folder is no artefact.
    """
    known: dict[str, Artefact] = {}
    for item in Store(store_root).artefacts():
        known[item.digest] = item
        if "digest" in item.facts:  # a dataset is named by its content, wherever it was built
            known[item.facts["digest"]] = item
    top = Artefact(folder=folder, manifest=read_manifest(folder))
    return _cause("this", top, known)


def _cause(role: str, artefact: Artefact, known: dict[str, Artefact]) -> Cause:
    shape = artefact.manifest.shape
    return Cause(
        role=role,
        stage=shape.stage,
        digest=artefact.digest,
        folder=artefact.folder,
        sections=shape.sections,
        causes=tuple(
            _cause(name, known[digest], known)
            if digest in known
            else Cause(role=name, stage="input", digest=digest)
            for name, digest in shape.inputs.items()
        ),
    )


def _shortened(section: Any) -> str:
    text = str(section)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
