"""A process with all that it started: dies with its parent, and ends as a whole (Linux).

A tree is found again by two marks: its descendants, and the session that its first process leads.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def die_with_parent(parent: int, *, by: signal.Signals) -> None:
    """Ask the kernel for a signal when the thread that started this process ends.

    A process whose parent is gone already ends at once. Elsewhere than on Linux this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    _prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none is lost (Linux)."""
    if sys.platform.startswith("linux"):
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def tree_below(root: int) -> list[psutil.Process]:
    """Return every descendant of a process, and every member of the session it leads; not it."""
    found: dict[int, psutil.Process] = {}
    with suppress(psutil.NoSuchProcess):
        found |= {p.pid: p for p in psutil.Process(root).children(recursive=True)}
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if pid not in {root, os.getpid()} and os.getsid(pid) == root:
                found[pid] = psutil.Process(pid)
    return list(found.values())


def kill_all(processes: Iterable[psutil.Process], *, within_s: float = 5.0) -> None:
    """Kill processes and see them gone; psutil makes sure that no pid was taken over meanwhile."""
    processes = list(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()
    psutil.wait_procs(processes, timeout=within_s)


def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Say whether a child has ended, and leave it unreaped, so that its number stays taken."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll() is not None
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, how) is not None


def kill_tree(root: int, kin: Iterable[psutil.Process] = ()) -> None:
    """Kill a session's leader and all below it, again and again until nothing is left.

    `kin` are further processes, which may have left the session and lost their parents.
    The leader must not be reaped yet: its number could be another's by now.
    """
    end = time.monotonic() + 10.0
    while time.monotonic() < end:
        left = [p for p in {*tree_below(root), *kin} if _lives(p)]
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(root)
            left += [leader] if _lives(leader) else []
        if not left:
            return
        kill_all(left, within_s=2.0)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")
