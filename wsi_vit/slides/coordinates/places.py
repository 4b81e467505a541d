"""Where slides lie, by what is in them: what was derived from a slide never names its path.

A note a slide is kept beside the store's artefacts. Tiling writes it, also where the tiles are
there already, so a slide that was moved is found again after `wsi-vit tile` with a cohort that
names its new place; nothing is made anew.
"""

import json
from pathlib import Path

from wsi_vit.store.files import write_whole

_DIGITS = 32


class SlidePlaces:
    """The notes of one store."""

    def __init__(self, root: Path) -> None:
        self.root = root / ".slides"

    def note(self, digest: str, path: Path) -> None:
        """Remember where the slide with this content lies."""
        place = str(path.resolve())
        if self.find(digest) == Path(place):
            return
        with write_whole(self._note_of(digest)) as scratch:
            scratch.write_text(json.dumps({"sha256": digest, "slide": place}) + "\n")

    def find(self, digest: str) -> Path | None:
        """Return where the slide with this content was last, None where nobody said."""
        note = self._note_of(digest)
        return Path(json.loads(note.read_text())["slide"]) if note.is_file() else None

    def _note_of(self, digest: str) -> Path:
        return self.root / f"{digest[:_DIGITS]}.json"
