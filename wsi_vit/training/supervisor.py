"""Run a training command in a process of its own that cannot be lost.

Its output goes to a file and never to ours; it leads its own session; it ends when we end, however
we end; a stop gives it time for a checkpoint and then ends all of it.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from wsi_vit.errors import Stopped, TrainingError
from wsi_vit.section import Section
from wsi_vit.training.gpu_lock import hold_card
from wsi_vit.training.processes import has_ended, kill_tree, tree_below

STOPPED_STATUS = 75
"""With this status (EX_TEMPFAIL) a command says: stopped as asked, a checkpoint was kept."""

_TAIL_LINES = 20
_KIN_S = 1.0


class SupervisorSection(Section):
    """How patiently a training process is watched."""

    grace_s: float = 20.0
    """Between asking it to stop and killing it: time for a checkpoint."""
    poll_s: float = 0.25
    """Between two looks at its journal."""


class Tail:
    """The whole lines that were added to a file since it was last looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def new_lines(self) -> list[str]:
        """Return them; a line under way is read again next time, as its writer may cut it off."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            whole, newline, _ = stream.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()


def supervise(
    command: Sequence[str],
    *,
    log: Path,
    journal: Path,
    hear: Callable[[str], None],
    card: str | None = None,
    section: SupervisorSection | None = None,
) -> None:
    """Run a command to its end; it has its own session, and `log` for all that it prints.

    Whatever ends this call ends the command too, down to its last grandchild: an exception of
    `hear` or a signal of an orchestrator stops it with grace, and the death of this process, even
    by SIGKILL, does the same through the guard. The call must stay in the thread that began it.

    Args:
        command: Program and arguments.
        log: Takes its standard output and error, appended.
        journal: Every whole line that the command adds to it goes to `hear`.
        hear: Called in this thread with a line of the journal, and with "" where a look found
            none, as a heartbeat. Raise in it to stop the command.
        card: The GPU that it may have for itself; None for none.
        section: How patiently it is watched.

    Raises:
        Stopped: The command was asked to stop, and kept a checkpoint.
        TrainingError: It failed, with its status and its last words; or the card is taken.
    """
    section = section or SupervisorSection()
    log.parent.mkdir(parents=True, exist_ok=True)
    tail, said_before = Tail(journal), log.stat().st_size if log.exists() else 0
    with hold_card(card) as lock, log.open("ab") as output:
        guard = _start(command, output.fileno(), lock=lock, grace_s=section.grace_s)
        kin: set[psutil.Process] = set()
        try:
            _watch(guard, tail, hear, kin=kin, poll_s=section.poll_s)
        except BaseException:
            _stop(guard, grace_s=section.grace_s)
            for line in tail.new_lines():  # it may have reached another epoch meanwhile
                with suppress(Exception):  # what ends this call is on its way up already
                    hear(line)
            raise
        finally:
            kill_tree(guard.pid, kin)
            status = guard.wait()
    _judge(status, command, log, said_before)


def _start(
    command: Sequence[str], output: int, *, lock: int | None, grace_s: float
) -> "subprocess.Popen[bytes]":
    guard = [sys.executable, "-m", "wsi_vit.training.guard", str(os.getpid()), str(grace_s)]
    return subprocess.Popen(
        [*guard, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=() if lock is None else (lock,),
    )


def _watch(
    guard: "subprocess.Popen[bytes]",
    tail: Tail,
    hear: Callable[[str], None],
    *,
    kin: set[psutil.Process],
    poll_s: float,
) -> None:
    """Hand on the journal until the guard ends; remember what it started, should it be killed."""
    looked = 0.0
    while True:
        ended = has_ended(guard)
        if time.monotonic() - looked > _KIN_S:
            kin.update(tree_below(guard.pid))
            looked = time.monotonic()
        for line in tail.new_lines() or [""]:
            hear(line)
        if ended:
            return
        end = time.monotonic() + poll_s
        while not has_ended(guard) and time.monotonic() < end:
            time.sleep(min(0.02, poll_s))


def _stop(guard: "subprocess.Popen[bytes]", *, grace_s: float) -> None:
    """Ask the guard to end its command; it has a little longer than the command has."""
    os.kill(guard.pid, signal.SIGTERM)  # it is not reaped yet, so the number is still its own
    end = time.monotonic() + grace_s + 5.0
    while not has_ended(guard) and time.monotonic() < end:
        time.sleep(0.05)


def _judge(status: int, command: Sequence[str], log: Path, said_before: int) -> None:
    if status == 0:
        return
    with log.open("rb") as stream:
        stream.seek(said_before)
        last = deque((line.decode(errors="replace").rstrip() for line in stream), _TAIL_LINES)
    words = "\n".join(last) or "nothing"
    if status == STOPPED_STATUS:
        raise Stopped(
            "Training stopped as asked, and kept a checkpoint",
            got=words,
            remedy="Start it again to go on from there",
        )
    raise TrainingError(
        f"Training ended with {_spelt(status)}",
        got=f"`{' '.join(command)}`, which said:\n{words}\n",
        remedy=f"Mend that and start it again; all it said is in {log}",
    )


def _spelt(status: int) -> str:
    if status < 0 or status > 128:
        number = -status if status < 0 else status - 128
        return f"signal {number}" + (" (memory was short, or it was killed)" * (number == 9))
    return f"status {status}"
