"""The file of a slide before any library is let near it."""

import hashlib
import stat
from pathlib import Path

from wsi_vit.errors import Reason, SlideError
from wsi_vit.store import DigestCache, digest_of

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def usable_file(path: Path) -> Path:
    """Return the path of a regular, readable, non-empty file with a printable name.

    A link is followed: data lakes are made of them. What it leads to must be a regular file.

    Raises:
        SlideError: MISSING, UNSAFE_PATH, EMPTY_FILE or UNREADABLE.
    """
    name = str(path)
    if not name.isprintable():
        raise _refused(Reason.UNSAFE_PATH, "The name holds control characters", path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _refused(Reason.UNSAFE_PATH, "The path is no regular file", path)
        if status.st_size == 0:
            raise _refused(Reason.EMPTY_FILE, "The file is empty", path)
        with path.open("rb"):
            return path
    except FileNotFoundError:
        raise _refused(Reason.MISSING, "There is no such file", path) from None
    except OSError as error:
        what = f"The file cannot be opened ({error.strerror or error})"
        raise _refused(Reason.UNREADABLE, what, path) from error


def is_tiff(path: Path) -> bool:
    """Say whether the first bytes are those of a TIFF or BigTIFF."""
    with path.open("rb") as stream:
        return stream.read(4) in _TIFF_MAGIC


def companions(path: Path) -> tuple[Path, ...]:
    """Return the further files of a slide that is more than one file, in a fixed order."""
    if path.suffix.lower() == ".mrxs":
        return _files(path.with_suffix(""), "*")
    if path.suffix.lower() in {".vms", ".vmu"}:
        return _named_in(path)
    if _is_dicom(path):
        others = (item for item in _files(path.parent, "*") if item.name != path.name)
        return tuple(item for item in others if _is_dicom(item))
    return ()


def _is_dicom(path: Path) -> bool:
    """Say whether a file is DICOM, by its content: many carry no suffix (PS3.10, 7.1)."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _named_in(index: Path) -> tuple[Path, ...]:
    """Return the files beside a Hamamatsu index that one of its lines (`Key=name`) names."""
    lines = index.read_bytes().decode("latin-1").splitlines()
    names = {line.partition("=")[2].strip() for line in lines}
    return tuple(item for item in _files(index.parent, "*") if item.name in names)


def slide_digest(path: Path, cache: DigestCache) -> str:
    """Return the digest of a slide's bytes, its companion files included."""
    digest = cache.digest(path)
    others = {item.name: cache.digest(item) for item in companions(path)}
    return digest_of({"slide": digest, "with": others}) if others else digest


def printable_name(name: str) -> str:
    """Return a slide id that can stand in tables and URLs.

    Raises:
        SlideError: UNSAFE_PATH, for separators, control characters and names of folders.
    """
    if name and name.isprintable() and not set(name) & set("/\\") and name not in {".", ".."}:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    raise SlideError(
        Reason.UNSAFE_PATH,
        "A slide id may hold no slash and no control character",
        got=f"{name!r} ({digest})",
        remedy="Give the slide another slide_id in the cohort",
    )


def _files(folder: Path, pattern: str) -> tuple[Path, ...]:
    return tuple(sorted(item for item in folder.glob(pattern) if item.is_file()))


def _refused(reason: Reason, what: str, path: Path) -> SlideError:
    return SlideError(
        reason,
        what,
        got=repr(str(path)),
        remedy="Mend the path in the cohort, or copy the slide again",
    )
