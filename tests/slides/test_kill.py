"""Kill -9 at any moment of tiling: the next run finishes, and the bytes are the same."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slides.making import stained, write_tiff
from wsi_vit.slides.slide_input import SlideInput
from wsi_vit.slides.tiles import TilesSection
from wsi_vit.slides.tiling import tile_slide
from wsi_vit.store import Artefact, Manifest, Shape, Store
from wsi_vit.store.artefact import MANIFEST
from wsi_vit.store.canonical import canonical_json
from wsi_vit.store.store import _entries

SECTION = TilesSection.model_validate({"grid": {"tile_px": 32, "mpp": 2.0}})
KILLS = 12
ROOT = Path(__file__).parents[2]

WORKER = """
import os, sys
from pathlib import Path
from tests.slides.test_kill import tile

kind, slide, warm = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
tile(slide, warm)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        tile(slide, Path(line.strip()), kind)
        os._exit(0)
    print(child, flush=True)
    print("ended", os.waitpid(child, 0)[1], flush=True)
"""
"""Imports once, then forks a process a run: a kill falls into the work, not into Python's start."""


class NaiveStore(Store):
    """What one would write without thinking of kills: straight into the final folder."""

    def ensure(self, shape: Shape, make: Callable[[Path], dict[str, Any]]) -> Artefact:
        folder = self.folder_of(shape)
        if not folder.exists():
            folder.mkdir(parents=True)
            make(folder)
        files = _entries(folder)
        manifest = Manifest(shape=shape, key=shape.key, facts={}, files=files)
        (folder / MANIFEST).write_text(canonical_json(manifest))
        return Artefact(folder=folder, manifest=manifest)


class DoomedStore(Store):
    """Dies where all is written, and nothing committed."""

    def ensure(self, shape: Shape, make: Callable[[Path], dict[str, Any]]) -> Artefact:
        Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        return super().ensure(shape, make)


STORES = {"store": Store, "naive": NaiveStore, "doomed": DoomedStore}


def tile(path: Path, root: Path, kind: str = "store") -> Artefact:
    return tile_slide(SlideInput(path, "a"), section=SECTION, store=STORES[kind](root))


class Killer:
    """Starts runs in processes of their own, and kills them after so many seconds."""

    def __init__(self, kind: str, slide: Path, warm: Path) -> None:
        self.kind, self.slide = kind, slide
        command = [sys.executable, "-c", WORKER, kind, str(slide), str(warm)]
        pipe = subprocess.PIPE
        self._worker = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, bufsize=0)

    def run(self, root: Path, *, kill_after: float | None) -> bool:
        """Return whether the run was killed before its end."""
        worker = self._worker
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(f"{root}\n".encode())
        child = int(worker.stdout.readline())
        if not select.select([worker.stdout], [], [], kill_after)[0]:
            os.kill(child, signal.SIGKILL)
        ended, status = worker.stdout.readline().split()
        assert ended == b"ended"
        assert int(status) in (0, signal.SIGKILL), "a run that is not killed succeeds"
        return int(status) == signal.SIGKILL

    def close(self) -> None:
        for pipe in (self._worker.stdin, self._worker.stdout):
            assert pipe
            pipe.close()
        self._worker.wait(timeout=10)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide in strips, read by tifffile, of 180 tiles."""
    pixels = stained(640, 448, blob=(32, 32, 608, 352))
    options = {"tile": None, "rowsperstrip": 32, "compression": "zlib"}
    return write_tiff(tmp_path_factory.mktemp("slide") / "a.tif", pixels, mpp=2.0, **options)


@pytest.fixture
def killer(request: pytest.FixtureRequest, slide: Path, tmp_path: Path) -> Iterator[Killer]:
    made = Killer(request.param, slide, tmp_path / "warm")
    yield made
    made.close()


def faults_after_kills(killer: Killer, tmp_path: Path) -> list[str]:
    """Kill runs at random moments, finish each, and return what is wrong with the outcomes."""
    whole = tile(killer.slide, tmp_path / "whole", killer.kind)
    takes = min(_seconds(killer, tmp_path / f"timed-{number}") for number in range(3))
    chance, faults, killed = random.Random(2), list[str](), 0
    for number in range(KILLS):
        root = tmp_path / f"run-{number}"
        moment = (number + chance.random()) / KILLS  # one in each twelfth of a run
        killed += killer.run(root, kill_after=moment * takes)
        again = tile(killer.slide, root, killer.kind)
        faults += [f"killed at {moment:.2f}: {fault}" for fault in _differences(again, whole, root)]
    assert killed >= KILLS // 3, f"only {killed} of {KILLS} kills came before the end"
    return faults


def _seconds(killer: Killer, root: Path) -> float:
    start = time.monotonic()
    killer.run(root, kill_after=None)
    return time.monotonic() - start


def _differences(again: Artefact, whole: Artefact, root: Path) -> Iterator[str]:
    """Yield what tells a run that was interrupted from one that was not."""
    for name in (MANIFEST, "tiles.arrow", "thumbnail.jpg"):
        there, here = again.folder / name, whole.folder / name
        if not there.exists() or there.read_bytes() != here.read_bytes():
            yield f"other bytes in {name}"
    if again.digest != whole.digest:
        yield "another digest"
    yield from (f"left over: {path.name}" for path in (root / ".scratch").glob("*"))
    if list(root.glob("tiles/*")) != [again.folder]:
        yield "more than one artefact"


@pytest.mark.parametrize("killer", ["store"], indirect=True)
def test_kill_9_at_any_moment_of_tiling_changes_no_byte(killer: Killer, tmp_path: Path) -> None:
    assert faults_after_kills(killer, tmp_path) == []


@pytest.mark.parametrize("killer", ["naive"], indirect=True)
def test_the_same_kills_catch_a_writer_that_writes_straight_into_its_folder(
    killer: Killer, tmp_path: Path
) -> None:
    faults = faults_after_kills(killer, tmp_path)

    assert any("other bytes in tiles.arrow" in fault for fault in faults), faults


@pytest.mark.parametrize("killer", ["doomed"], indirect=True)
def test_a_kill_just_before_the_commit_leaves_scratch_that_the_next_run_sweeps(
    killer: Killer, tmp_path: Path
) -> None:
    root, scratch = tmp_path / "store", tmp_path / "store/.scratch"
    assert killer.run(root, kill_after=None), "killed by its own hand"
    left = {path.name for path in scratch.glob("*/*")}
    assert left == {MANIFEST, "quality.png", "thumbnail.jpg", "tiles.arrow"}, (
        "complete, and not committed"
    )
    assert not list(root.glob("tiles/*"))

    again = tile(killer.slide, root)

    assert not again.reused
    assert not list(scratch.iterdir())
    assert again.manifest == tile(killer.slide, tmp_path / "whole").manifest
