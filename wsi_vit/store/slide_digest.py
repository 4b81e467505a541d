"""The digest of a large input file, read once and remembered by what the file system says of it."""

import json
from pathlib import Path

from wsi_vit.store.canonical import digest_of
from wsi_vit.store.files import file_digest, write_whole


class DigestCache:
    """Remembers sha256 digests by path, size, modification time and inode.

    A file that was replaced in place has another time or inode, so its digest is read anew.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / ".digests"

    def digest(self, path: Path) -> str:
        """Return the sha256 of a file's bytes, 64 hexadecimal digits."""
        status = path.stat()
        seen = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
        note = self.root / digest_of(seen)[:32]
        if note.exists():
            return json.loads(note.read_text())["sha256"]
        digest = file_digest(path)
        with write_whole(note) as scratch:
            scratch.write_text(json.dumps({"file": seen, "sha256": digest}))
        return digest
