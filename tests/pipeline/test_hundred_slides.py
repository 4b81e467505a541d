"""A night's cohort of a hundred slides, ten of them bad in ten ways."""

import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from tests.pipeline.conftest import LEARNER
from tests.slides.making import stained, write_jpeg_tiff, write_tiff, zero_tile
from wsi_vit import console
from wsi_vit.cli import app

SIDE_PX, IN_TISSUE = 256, 5
"""Of a slide; and a stored tile (of 4 x 4) that lies in the middle of its tissue."""


def good(path: Path, seed: int) -> None:
    pixels = stained(SIDE_PX, SIDE_PX, blob=(32, 32, 224, 224), seed=seed)
    write_jpeg_tiff(path, pixels, mpp=1.0, levels=2)


def place(path: Path, index: int) -> tuple[int, int]:
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        return page.dataoffsets[index], page.databytecounts[index]


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("Dear colleague,\n")


def broken_off(path: Path) -> None:
    """A copy that stopped half way; the directory of a scanner's file often lies at its start."""
    offset, count = place(path, IN_TISSUE)
    data = path.read_bytes()
    path.write_bytes(data[: offset + count // 2])


def zeros(path: Path) -> None:
    zero_tile(path, IN_TISSUE)


def cut_inside(path: Path) -> None:
    """A tile whose compressed pixels end before its last row."""
    offset, count = place(path, IN_TISSUE)
    overwrite(path, offset + count // 2, b"\xff\xd9" + bytes(count - count // 2 - 2))


def no_directory(path: Path) -> None:
    overwrite(path, 4, struct.pack("<I", 0x7FFF_FFFF))


def without_mpp(path: Path) -> None:
    write_tiff(path, stained(SIDE_PX, SIDE_PX, blob=(32, 32, 224, 224)), mpp=None)


def as_a_photo(path: Path) -> None:
    write_tiff(path, stained(SIDE_PX, SIDE_PX, blob=(32, 32, 224, 224)), mpp=352.8)


def grey(path: Path) -> None:
    pixels = stained(SIDE_PX, SIDE_PX, blob=(32, 32, 224, 224))[..., 0]
    tifffile.imwrite(
        path, pixels, tile=(64, 64), resolution=(10_000, 10_000), resolutionunit="CENTIMETER"
    )


def glass(path: Path) -> None:
    write_tiff(path, np.full((SIDE_PX, SIDE_PX, 3), 243, np.uint8), mpp=1.0)


FAULTS: dict[Callable[[Path], None], set[str]] = {
    empty: {"empty_file"},
    text: {"not_a_slide"},
    broken_off: {"not_a_slide", "unreadable", "unreadable_tiles"},
    zeros: {"unreadable_tiles"},
    cut_inside: {"unreadable_tiles"},
    no_directory: {"not_a_slide", "unreadable"},
    without_mpp: {"no_mpp"},
    as_a_photo: {"absurd_mpp"},
    grey: {"not_rgb"},
    glass: {"no_tissue"},
}
"""What is done to a slide, and the words it may be quarantined with."""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of a hundred slides; each tenth is bad."""
    faults, folder = iter(FAULTS), tmp_path_factory.mktemp("night")
    rows = []
    for number in range(100):
        path = folder / f"slide-{number:03}.tiff"
        good(path, seed=number)
        fault = next(faults) if number % 10 == 7 else None
        if fault:
            fault(path)
        name = fault.__name__ if fault else path.stem
        rows.append({"slide": path.name, "slide_id": name, "patient": path.stem})
    cohort = folder / "cohort.csv"
    with cohort.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return cohort


def tiled(night: Path) -> Result:
    recipe = night.with_name("night.yaml")
    recipe.write_text(LEARNER)
    asked = ["tile", str(recipe), "--cohort", str(night), "--out", str(night.parent / "runs")]
    return CliRunner().invoke(app, [*asked, "--json"])


@pytest.fixture(scope="module")
def done(night: Path) -> Result:
    return tiled(night)


def test_ninety_are_tiled_and_ten_are_named_with_their_reasons(night: Path, done: Result) -> None:
    assert done.exit_code == console.QUARANTINED, (done.output, done.exception)
    rows = {row["slide_id"]: row for row in json.loads(done.stdout)}
    lost = {name: row for name, row in rows.items() if row["state"] == "quarantined"}
    assert sorted(lost) == sorted(fault.__name__ for fault in FAULTS)
    for fault, words in FAULTS.items():
        assert lost[fault.__name__]["reason"] in words, fault.__name__
    assert len(rows) == 100
    assert all(row["tiles"] > 0 for name, row in rows.items() if name not in lost)
    assert not any(row["tiles"] for row in lost.values()), "a bad region became pixels"
    assert "Traceback" not in done.output
    shards = list((night.parent / "runs").rglob("tiles.arrow"))
    assert len(shards) == 90, "what is quarantined leaves no shard behind"


def test_a_second_night_does_the_ninety_no_second_time(night: Path, done: Result) -> None:
    good(night.with_name("slide-007.tiff"), seed=7)  # the first bad one was copied again

    rows = json.loads(tiled(night).stdout)

    assert done.exit_code == console.QUARANTINED
    states = [row["state"] for row in rows]
    assert (states.count("reused"), states.count("quarantined")) == (90, 9)
    assert rows[7]["state"] not in ("reused", "quarantined")
