"""A committed piece of derived data: a folder whose manifest names every file in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsi_vit.errors import StoreError
from wsi_vit.section import Section
from wsi_vit.store.canonical import digest_of
from wsi_vit.store.shape import Shape

MANIFEST = "manifest.json"


class FileEntry(Section):
    """One file of an artefact."""

    path: str
    """Relative to the artefact's folder, with forward slashes."""
    sha256: str
    bytes: int


class Manifest(Section):
    """What shaped an artefact, what it holds, and what was found while making it.

    It carries no time and no host, so that making the same thing twice gives the same bytes.
    """

    shape: Shape
    key: str
    facts: dict[str, Any]
    """Small results of making it: counts, resolutions, reasons. Deterministic."""
    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        """The sha256 of shape, facts and all file digests: the identity of the content."""
        return digest_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A folder with its manifest."""

    folder: Path
    manifest: Manifest
    reused: bool = False
    """Whether it was there already."""

    @property
    def digest(self) -> str:
        """The identity of the content, 64 hexadecimal digits."""
        return self.manifest.digest

    @property
    def facts(self) -> dict[str, Any]:
        """Small results of making it."""
        return self.manifest.facts


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artefact.

    Raises:
        StoreError: There is none, or it is not one of ours.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise StoreError(
            "No manifest: the folder is no artefact, or was never finished",
            got=folder,
            remedy="Name a folder that holds a manifest.json, or run its stage again",
        ) from None
    except (ValidationError, UnicodeDecodeError) as error:
        raise StoreError(
            f"Damaged manifest ({error.__class__.__name__})",
            got=path,
            remedy="Delete the folder and run its stage again",
        ) from error
