"""Slides that are open at the same time, found by what is in them: the last used ones stay open."""

import os
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wsi_vit.errors import DatasetError
from wsi_vit.slides.coordinates.places import SlidePlaces
from wsi_vit.slides.files import slide_digest
from wsi_vit.slides.resolution import ResolutionSection
from wsi_vit.slides.slide import Slide, open_slide
from wsi_vit.store import DigestCache

MOST_OPEN = 32
"""Slides a process keeps open: two or three files and some megabytes each."""
_CACHE_BYTES = 4 << 20
"""Decoded JPEG tiles kept a slide: what one tile at any resolution lies on, not its neighbours."""

_POINT = (
    "Run `wsi-vit tile` with a cohort that names where it lies now: tiles that are there already "
    "are not made again"
)

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideWanted:
    """A slide, and how it was opened when its tiles were chosen."""

    slide_id: str
    digest: str
    """Of its content, as `slide_digest` has it."""
    mpp: float | None
    """What the cohort said, in micrometres per base pixel."""
    resolution: ResolutionSection


@dataclass(slots=True, eq=False)
class _Held:
    slide: Slide
    stamp: Stamp
    users: int = 0


class HeldSlides:
    """Opens slides and keeps the last used ones; safe from several threads and after a fork."""

    def __init__(self, root: Path, *, most: int = MOST_OPEN) -> None:
        self._places, self._digests, self._most = SlidePlaces(root), DigestCache(root), most
        self._begin()

    @contextmanager
    def held(self, wanted: SlideWanted) -> Generator[Slide]:
        """Keep a slide open for a block.

        Raises:
            DatasetError: The slide is not where it was, or is another file now.
            SlideError: It cannot be opened.
        """
        if self._pid != os.getpid():
            self._begin()  # a parent's handles share their position in the file with ours
        with self._lock:
            entry = self._taken(wanted)
            entry.users += 1
        try:
            yield entry.slide
        finally:
            with self._lock:
                entry.users -= 1
                self._close_idle()

    def refuse_missing(self, wanted: Iterable[SlideWanted]) -> None:
        """Look for all slides at once; none is opened.

        Raises:
            DatasetError: Some are not where they were; all are listed.
        """
        places = ((item.slide_id, self._places.find(item.digest)) for item in wanted)
        lost = [f"{name} ({path})" for name, path in places if path is None or not path.is_file()]
        if lost:
            raise DatasetError(
                "Slides are not where they were when they were tiled",
                got=", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if lost[5:] else ""),
                remedy=_POINT,
            )

    def _begin(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._open: OrderedDict[SlideWanted, _Held] = OrderedDict()

    def _taken(self, wanted: SlideWanted) -> _Held:
        """Return the open slide; its file is compared with what it was at every turn."""
        path = self._place_of(wanted)
        stamp = _stamp(path)
        entry = self._open.pop(wanted, None)
        if entry is None or entry.stamp != stamp or entry.slide.path != path:
            if entry is not None and not entry.users:
                entry.slide.close()
            entry = _Held(self._opened(path, wanted), stamp)
        self._open[wanted] = entry
        return entry

    def _place_of(self, wanted: SlideWanted) -> Path:
        known = self._open.get(wanted)
        if known is not None and known.slide.path.is_file():
            return known.slide.path
        self.refuse_missing([wanted])
        found = self._places.find(wanted.digest)
        assert found is not None
        return found

    def _opened(self, path: Path, wanted: SlideWanted) -> Slide:
        if slide_digest(path, self._digests) != wanted.digest:
            raise DatasetError(
                f"The slide {wanted.slide_id} is not the one that was tiled: its bytes differ",
                got=path,
                remedy="Put the old file back; or tile it again and build the dataset anew",
            )
        return open_slide(
            path, mpp=wanted.mpp, resolution=wanted.resolution, cache_bytes=_CACHE_BYTES
        )

    def _close_idle(self) -> None:
        idle = [wanted for wanted, entry in self._open.items() if not entry.users]
        for wanted in idle[: max(0, len(self._open) - self._most)]:
            self._open.pop(wanted).slide.close()


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
