"""The process between a supervisor and a training command: it lets nothing outlive its end.

`python -m wsi_vit.training.guard PARENT GRACE_S COMMAND…` leads a session of its own. When its
parent dies, however it dies, or when it gets SIGTERM, the command gets SIGTERM and a grace to keep
a checkpoint; then all that is left of it is killed. It exits as the command did (128 + the number
of a signal), or with 143 where it had to kill.
"""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from types import FrameType

from wsi_vit.training.processes import adopt_orphans, die_with_parent, kill_all, tree_below

KILLED = 128 + signal.SIGTERM
_POLL_S = 0.05


def main(arguments: list[str]) -> int:
    """Run a command to its end, or to the end of the grace after a stop."""
    parent, grace_s, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    asked: list[float] = []

    def note(_signal: int, _frame: FrameType | None) -> None:
        asked.append(time.monotonic())

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    die_with_parent(parent, by=signal.SIGTERM)
    adopt_orphans()
    try:
        return _run(command, asked, grace_s=grace_s)
    finally:
        kill_all(tree_below(os.getpid()))


def _run(command: list[str], asked: list[float], *, grace_s: float) -> int:
    # This process has one thread, so code between fork and exec is safe here.
    kill_too = partial(die_with_parent, os.getpid(), by=signal.SIGKILL)
    child = subprocess.Popen(command, preexec_fn=kill_too)
    told = False
    while (status := child.poll()) is None:
        if asked and not told:
            child.terminate()
            told = True
        if asked and time.monotonic() - asked[0] > grace_s:
            return KILLED
        time.sleep(_POLL_S)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
