import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from wsi_vit.errors import Stopped, TrainingError
from wsi_vit.training.gpu_lock import hold_card, visible_card
from wsi_vit.training.supervisor import STOPPED_STATUS, SupervisorSection, Tail, supervise

QUICK = SupervisorSection(grace_s=1.0, poll_s=0.02)
ROOT = Path(__file__).parents[2]

DEAF = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    kin = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]),
           subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                            start_new_session=True)]
    pids = [os.getpid(), os.getppid(), *[k.pid for k in kin]]
    open(JOURNAL, "a").write(" ".join(map(str, pids)) + "\\n")
    time.sleep(60)
"""
"""Ignores SIGTERM, and has a child in its session and one that left it."""


class Cancelled(BaseException):
    """What an orchestrator throws into a task."""


def script(tmp_path: Path, code: str) -> list[str]:
    path = tmp_path / "command.py"
    head = f"JOURNAL = {str(tmp_path / 'journal')!r}\n"
    path.write_text(head + dedent(code))
    return [sys.executable, str(path)]


def run(tmp_path: Path, code: str, heard: list[str] | None = None, **options: object) -> None:
    words: list[str] = [] if heard is None else heard
    supervise(
        script(tmp_path, code),
        log=tmp_path / "train.log",
        journal=tmp_path / "journal",
        hear=words.append,
        section=QUICK,
        **options,  # type: ignore[arg-type]
    )


def gone(pids: list[int], *, within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_lines_of_the_journal_are_heard_and_output_goes_to_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal").write_text("of an earlier attempt\n")
    heard: list[str] = []

    run(
        tmp_path,
        """
        import sys, time
        print("to the log"); print("and this", file=sys.stderr)
        with open(JOURNAL, "a", buffering=1) as journal:
            journal.write('{"epoch": 1}\\n{"epo'); time.sleep(0.2); journal.write('ch": 2}\\n')
        """,
        heard,
    )

    assert [json.loads(line)["epoch"] for line in heard if line] == [1, 2]
    assert "" in heard, "silence is a heartbeat"
    assert sorted((tmp_path / "train.log").read_text().split("\n")) == [
        "",
        "and this",
        "to the log",
    ]
    assert capfd.readouterr() == ("", "")


def test_a_failure_tells_its_status_and_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("words of yesterday\n")

    with pytest.raises(TrainingError, match=r"status 3.*\n.*out of luck") as caught:
        run(tmp_path, "import sys; print('out of luck', flush=True); sys.exit(3)")

    assert not isinstance(caught.value, Stopped)
    assert "yesterday" not in str(caught.value)


def test_a_command_that_was_killed_says_by_which_signal(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="signal 9"):
        run(tmp_path, "import os; os.kill(os.getpid(), 9)")


def test_a_stop_with_a_checkpoint_is_an_outcome_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, f"raise SystemExit({STOPPED_STATUS})")


def test_a_cancelled_command_has_time_for_a_checkpoint(tmp_path: Path) -> None:
    code = """
        import signal, sys, time
        def save(*_):
            time.sleep(0.3); open(JOURNAL + ".checkpoint", "w").write("whole"); sys.exit(75)
        signal.signal(signal.SIGTERM, save)
        open(JOURNAL, "a").write("ready\\n")
        time.sleep(60)
    """

    def hear(line: str) -> None:
        if line == "ready":
            raise Cancelled

    with pytest.raises(Cancelled):
        supervise(
            script(tmp_path, code),
            log=tmp_path / "log",
            journal=tmp_path / "journal",
            hear=hear,
            section=SupervisorSection(grace_s=10.0, poll_s=0.02),
        )

    assert (tmp_path / "journal.checkpoint").read_text() == "whole"


def test_a_deaf_command_is_killed_with_all_its_kin_after_the_grace(tmp_path: Path) -> None:
    pids: list[int] = []

    def hear(line: str) -> None:
        if line:
            pids.extend(int(pid) for pid in line.split())
            raise Cancelled

    with pytest.raises(Cancelled):
        supervise(
            script(tmp_path, DEAF),
            log=tmp_path / "log",
            journal=tmp_path / "journal",
            hear=hear,
            section=QUICK,
        )

    assert len(pids) == 4
    assert gone(pids, within_s=0.5)


def test_what_a_finished_command_left_running_is_ended(tmp_path: Path) -> None:
    heard: list[str] = []

    run(
        tmp_path,
        """
        import subprocess, sys
        kin = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open(JOURNAL, "a").write(f"{kin.pid}\\n")
        """,
        heard,
    )

    assert gone([int(line) for line in heard if line], within_s=0.5)


@pytest.mark.parametrize("victim", ["supervisor", "guard"])
def test_a_command_does_not_outlive_a_kill(tmp_path: Path, victim: str) -> None:
    command = script(tmp_path, DEAF)
    code = f"""
        from pathlib import Path
        from wsi_vit.training.supervisor import SupervisorSection, supervise
        supervise({command!r}, log=Path({str(tmp_path / "log")!r}),
                  journal=Path({str(tmp_path / "journal")!r}), hear=lambda line: None,
                  section=SupervisorSection(grace_s=0.5, poll_s=0.02))
    """
    supervisor = subprocess.Popen(
        [sys.executable, "-c", dedent(code)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    pids = wait_for_pids(tmp_path / "journal")
    time.sleep(1.5)  # the supervisor looks for new kin every second

    os.kill(supervisor.pid if victim == "supervisor" else pids[1], signal.SIGKILL)

    supervisor.wait(15)
    assert gone(pids, within_s=10)


def wait_for_pids(journal: Path) -> list[int]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if journal.exists() and journal.read_text().endswith("\n"):
            return [int(pid) for pid in journal.read_text().split()]
        time.sleep(0.05)
    raise AssertionError("the command never spoke")


def test_a_card_is_for_one_run_and_free_again_after_it(tmp_path: Path) -> None:
    with hold_card("0", folder=tmp_path):
        taken = pytest.raises(TrainingError, match=f"taken by another run.*process {os.getpid()}")
        with taken, hold_card("0", folder=tmp_path):
            pass
        with hold_card("1", folder=tmp_path) as other:
            assert other is not None

    with hold_card("0", folder=tmp_path) as again:
        assert again is not None


def test_a_card_stays_taken_while_a_child_holds_its_lock(tmp_path: Path) -> None:
    with hold_card("0", folder=tmp_path) as lock:
        assert lock is not None
        child = subprocess.Popen(["sleep", "30"], pass_fds=(lock,))
    try:
        with pytest.raises(TrainingError, match="taken"), hold_card("0", folder=tmp_path):
            pass
    finally:
        child.kill()
        child.wait()
    with hold_card("0", folder=tmp_path) as free:
        assert free is not None


def test_a_link_in_place_of_a_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "wsi-vit-gpu-0.lock").symlink_to(tmp_path / "victim")

    with pytest.raises(TrainingError, match="cannot be opened"), hold_card("0", folder=tmp_path):
        pass

    assert (tmp_path / "victim").read_text() == "untouched"


@pytest.mark.parametrize(("named", "card"), [("2,3", "2"), ("", None), ("-1", None)])
def test_the_card_is_the_first_that_may_be_seen(
    named: str, card: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)

    assert visible_card() == card


def test_a_tail_takes_a_line_back_that_its_writer_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    tail = Tail(path)
    path.write_text("one\ntor")
    assert tail.new_lines() == ["one"]

    path.write_text("one\ntwo\n")
    assert tail.new_lines() == ["two"]
    assert tail.new_lines() == []
