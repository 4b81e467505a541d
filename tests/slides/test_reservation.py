"""Room on disk that is asked for before a file is written."""

import ctypes
from pathlib import Path

import pytest

from wsi_vit.slides.reservation import reserve
from wsi_vit.slides.shard import TileRow, write_shard

BLOCK = 1 << 16
"""More than any file system here rounds a file up by."""


def rows(count: int) -> list[TileRow]:
    return [
        TileRow(image=bytes(1000), slide_id="a", x=x, y=0, mpp=0.5, tissue=1, quality=None)
        for x in range(count)
    ]


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_what_is_reserved_is_not_seen_as_length(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()

    reserve(path, 10 * BLOCK)

    assert on_disk(path) >= 10 * BLOCK, "this file system has fallocate(2)"
    assert path.read_bytes() == b""


@pytest.mark.parametrize("expected", [0, 5_000, 100 * BLOCK])
def test_a_shard_is_the_same_and_takes_no_more_room_whatever_was_expected(
    tmp_path: Path, expected: int
) -> None:
    write_shard(tmp_path / "plain", rows(150))

    write_shard(tmp_path / "a", rows(150), expected_bytes=expected)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "plain").read_bytes()
    assert on_disk(tmp_path / "a") < (tmp_path / "a").stat().st_size + BLOCK


def test_where_nothing_can_be_reserved_the_shard_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "plain", rows(3))

    write_shard(tmp_path / "more than there is", rows(3), expected_bytes=1 << 60)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    write_shard(tmp_path / "no such call", rows(3), expected_bytes=BLOCK)

    for name in ("more than there is", "no such call"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "plain").read_bytes()
