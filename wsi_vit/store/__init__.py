"""Derived data, named by what shaped it, written whole or not at all.

`Shape` says what decides a piece of derived data, and hashes to its key. `Store.ensure` returns the
artefact of a shape, making it only where it is missing. `manifest.json` in each artefact names
every file with its sha256.
"""

from wsi_vit.store.artefact import Artefact, FileEntry, Manifest, read_manifest
from wsi_vit.store.canonical import canonical_json, digest_of
from wsi_vit.store.files import file_digest, write_whole
from wsi_vit.store.recorded import Recorded, write_record
from wsi_vit.store.shape import Shape
from wsi_vit.store.slide_digest import DigestCache
from wsi_vit.store.store import Store
from wsi_vit.store.verify import Fault, verify_folder

__all__ = [
    "Artefact",
    "DigestCache",
    "Fault",
    "FileEntry",
    "Manifest",
    "Recorded",
    "Shape",
    "Store",
    "canonical_json",
    "digest_of",
    "file_digest",
    "read_manifest",
    "verify_folder",
    "write_record",
    "write_whole",
]
