import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsi_vit.errors import StoreError
from wsi_vit.section import Section
from wsi_vit.tracking import journal as module
from wsi_vit.tracking.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "run" / "journal.jsonl")


def test_what_is_appended_is_read_in_order(journal: Journal) -> None:
    journal.append("attempt", {"number": 1})
    journal.append("epoch", {"number": 1, "train_loss": 0.5})
    records = list(journal.read())
    assert [record.sequence for record in records] == [1, 2]
    assert [record.kind for record in records] == ["attempt", "epoch"]
    assert records[1].payload == {"number": 1, "train_loss": 0.5}


def test_reading_goes_on_after_a_number(journal: Journal) -> None:
    for number in range(5):
        journal.append("epoch", {"number": number})
    assert [record.payload["number"] for record in journal.read(after=3)] == [3, 4]


def test_a_run_that_said_nothing_has_no_records(journal: Journal) -> None:
    assert list(journal.read()) == []


def test_the_record_returned_is_the_record_read(journal: Journal) -> None:
    assert list(journal.read()) == []
    assert journal.append("epoch", {"number": 1}) == next(journal.read())


def test_sections_are_journalled_as_plain_json(journal: Journal) -> None:
    class Epoch(Section):
        number: int
        folder: Path

    journal.append("epoch", Epoch(number=3, folder=Path("a/b")))
    assert next(journal.read()).payload == {"number": 3, "folder": "a/b"}


def test_numbers_that_are_not_finite_become_null(journal: Journal) -> None:
    journal.append("epoch", {"iou": [float("nan"), 0.5], "loss": {"train": float("inf")}})
    assert next(journal.read()).payload == {"iou": [None, 0.5], "loss": {"train": None}}
    assert "NaN" not in journal.path.read_text()


@pytest.mark.parametrize(
    "torn", [b"{", b'{"sequence":3,"kind":"epoch"', b"\0" * 200, b"x" * 200_000]
)
def test_a_torn_last_line_is_passed_over_and_cut_off(journal: Journal, torn: bytes) -> None:
    journal.append("attempt", {"number": 1})
    journal.append("epoch", {"number": 1})
    with journal.path.open("ab") as stream:
        stream.write(torn)
    assert len(list(journal.read())) == 2
    assert journal.append("attempt", {"number": 2}).sequence == 3
    assert [record.sequence for record in journal.read()] == [1, 2, 3]


def test_every_length_of_the_last_line_is_survived(journal: Journal) -> None:
    journal.append("attempt", {"number": 1})
    first = journal.path.read_bytes()
    journal.append("epoch", {"number": 1})
    whole = journal.path.read_bytes()
    for length in range(len(first), len(whole)):
        journal.path.write_bytes(whole[:length])
        assert len(list(journal.read())) == 1
        assert journal.append("epoch", {"number": 1}).sequence == 2


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(journal: Journal) -> None:
    for number in range(3):
        journal.append("epoch", {"number": number})
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + b"}{\n" + lines[2])
    with pytest.raises(StoreError, match="line 2"):
        list(journal.read())


def test_a_missing_line_is_noticed(journal: Journal) -> None:
    for number in range(3):
        journal.append("epoch", {"number": number})
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + lines[2])
    with pytest.raises(StoreError, match="number 3"):
        list(journal.read())


def _append_many(path: Path, writer: int) -> None:
    for number in range(40):
        Journal(path).append("step", {"writer": writer, "number": number})


def test_writers_side_by_side_lose_no_record(journal: Journal) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(journal.path, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    records = list(journal.read())
    assert [record.sequence for record in records] == list(range(1, 161))
    for writer in range(4):
        mine = [r.payload["number"] for r in records if r.payload["writer"] == writer]
        assert mine == list(range(40))


WRITER = """
import sys
from pathlib import Path
from wsi_vit.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(100_000):
    journal.append("step", {"number": number, "filler": "x" * 5_000})
    if number == 20:
        print("going", flush=True)
"""


def test_a_kill_in_the_middle_loses_at_most_the_line_being_written(journal: Journal) -> None:
    for attempt in range(3):
        command = [sys.executable, "-c", WRITER, str(journal.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
        count = sum(1 for _ in journal.read())
        assert count >= 21 * (attempt + 1)
        assert journal.append("attempt", {"number": attempt}).sequence == count + 1


def test_a_disk_that_fills_up_in_mid_line_leaves_the_journal_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append("epoch", {"number": 1})
    before, write = journal.path.read_bytes(), os.write
    monkeypatch.setattr(module.os, "write", lambda fd, line: write(fd, line[:10]))
    with pytest.raises(StoreError, match="No space left"):
        journal.append("epoch", {"number": 2})
    monkeypatch.undo()
    assert journal.path.read_bytes() == before
    assert journal.append("epoch", {"number": 2}).sequence == 2


def test_epochs_reach_the_disk_and_steps_need_not(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(module.os, "fsync", flushed.append)
    journal.append("step", {"number": 1})
    assert not flushed
    journal.append("epoch", {"number": 1})
    assert len(flushed) == 1


def test_a_line_is_json_that_other_tools_can_read(journal: Journal) -> None:
    journal.append("epoch", {"name": "tumöur"})
    line = json.loads(journal.path.read_text())
    assert line["sequence"] == 1
    assert line["time"].endswith("Z")
    assert line["payload"] == {"name": "tumöur"}
