"""One run a card, on this computer, whoever started it."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wsi_vit.errors import TrainingError


def visible_card() -> str | None:
    """Return the card that a run started here would take, None where none may be seen.

    It is what `CUDA_VISIBLE_DEVICES` names first, else 0. Give all workers of a computer numbers,
    or all of them UUIDs: the lock does not know which number a UUID is.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return "0" if Path("/dev/nvidiactl").exists() else None
    first = named.split(",")[0].strip()
    return None if first in {"", "-1"} else first


def visible_cards() -> tuple[str, ...]:
    """Return every card that runs started here may take, by the words `visible_card` would use."""
    import torch

    count = torch.cuda.device_count()  # asks the driver; no context is made on any card
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = [str(n) for n in range(count)] if named is None else named.split(",")
    return tuple(card.strip() for card in cards[:count])


@contextmanager
def hold_card(card: str | None, *, folder: Path | None = None) -> Generator[int | None]:
    """Hold a card's kernel lock; yield its file descriptor, for a child that shall hold it too.

    The lock ends with the last process that holds the descriptor, however that ends: while a
    training process lives, its card stays taken, even if whoever started it was killed.

    Args:
        card: Number or UUID; None locks nothing and yields None.
        folder: Where the lock files lie; absent: the computer's folder of temporary files.

    Raises:
        TrainingError: Another run holds the card.
    """
    if card is None:
        yield None
        return
    word = "".join(letter if letter.isalnum() else "-" for letter in card)
    path = (folder or Path(tempfile.gettempdir())) / f"wsi-vit-gpu-{word}.lock"
    descriptor = _open(path)
    try:
        _take(descriptor, card)
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open a lock file that all users may share; a link planted in its place is refused."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise TrainingError(
            f"The lock of a GPU cannot be opened: {error.strerror}",
            got=path,
            remedy="Delete that file, or have its owner make it writable for all",
        ) from error
    if os.fstat(descriptor).st_uid == os.getuid():
        os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR | 0o066)  # the umask took some of it
    return descriptor


def _take(descriptor: int, card: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
        raise TrainingError(
            f"GPU {card} is taken by another run",
            got=holder or "a run that left no name",
            remedy="Wait for it, stop it, or name another card in CUDA_VISIBLE_DEVICES",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
