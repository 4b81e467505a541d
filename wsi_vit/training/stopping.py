"""Asked to stop: finish the step, keep a checkpoint, then go."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def note(self, _signal: int, _frame: FrameType | None) -> None:
        """Note a signal; nothing else is safe in a handler."""
        self.asked = True


@contextmanager
def stop_on_sigterm() -> Generator[StopRequest]:
    """Note SIGTERM instead of dying of it; outside the main thread nothing can be noted."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, request.note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
