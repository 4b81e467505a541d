"""Reading ahead: in order, bounded, and no thread left behind."""

import threading
import time
from typing import Any, cast

import numpy as np
import pytest

from wsi_vit.errors import Reason, SlideError
from wsi_vit.geometry import Region
from wsi_vit.prediction.canvas import PlannedTile
from wsi_vit.prediction.reading import read_ahead
from wsi_vit.slides.slide import Slide

TILES = [PlannedTile(n, n, 0, Region(n, 0, 1, 1), 1.0) for n in range(40)]


class FakeSlide:
    """Answers with the tile's x as colour; late tiles answer first; counts what is going on."""

    def __init__(self, fault: Reason | None = None) -> None:
        self.fault, self.started, self.reading = fault, 0, 0
        self._lock = threading.Lock()

    def read(self, region: Region, *, width_px: int, height_px: int) -> Any:
        with self._lock:
            self.started += 1
            self.reading += 1
        time.sleep(0.004 if int(region.x) % 3 == 0 else 0.001)
        with self._lock:
            self.reading -= 1
        if self.fault and region.x == 5:
            raise SlideError(self.fault, "bad", remedy="none")
        return np.full((height_px, width_px, 3), int(region.x), np.uint8)


def reading(fake: FakeSlide, ahead: int = 4) -> Any:
    return read_ahead(cast(Slide, fake), TILES, tile_px=2, ahead=ahead)


def test_tiles_come_in_order_whichever_was_read_first() -> None:
    tiles = list(reading(FakeSlide()))

    assert [tile.planned.number for tile in tiles] == list(range(40))
    assert [int(tile.image[0, 0, 0]) for tile in tiles] == list(range(40))


def test_only_a_few_are_read_ahead() -> None:
    fake = FakeSlide()
    read = reading(fake)
    next(read)
    time.sleep(0.1)

    assert fake.started <= 5
    read.close()


def test_closing_waits_for_the_threads() -> None:
    """A slide closed under a thread that reads it crashes the process: OpenSlide is C."""
    fake = FakeSlide()
    read = reading(fake, ahead=20)
    next(read)
    read.close()
    started = fake.started

    assert fake.reading == 0
    time.sleep(0.05)
    assert fake.started == started < 40
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_an_unreadable_tile_is_handed_on_without_pixels() -> None:
    tiles = list(reading(FakeSlide(Reason.UNREADABLE_TILES)))

    assert [tile.planned.number for tile in tiles if tile.image is None] == [5]


def test_any_other_fault_ends_it() -> None:
    with pytest.raises(SlideError, match="missing"):
        list(reading(FakeSlide(Reason.MISSING)))


def test_no_tiles_are_no_work() -> None:
    assert list(read_ahead(cast(Slide, FakeSlide()), [], tile_px=2, ahead=1)) == []
