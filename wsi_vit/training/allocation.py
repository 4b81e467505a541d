"""Memory that a training process gives back in every step only to be given it again.

What is freed above a threshold goes back to the kernel, which must clear each page of it anew when
the next step asks. glibc raises its threshold by itself, but only to the largest piece it has seen
freed, and gives back all above twice that: less than what the tensors of a step come to.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of the parameters, from glibc's malloc.h."""

_OWN_MAPPING_FROM = 32 << 20
"""The most that glibc takes on 64 bits; larger pieces are mapped apart, and given back."""
_KEPT_FREE = 512 << 20


def keep_freed_memory() -> bool:
    """Let this process keep up to 512 MiB that it has freed, for what it asks for next (glibc).

    Returns:
        Whether the C library does so; elsewhere than on Linux with glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is None:
        return False
    return bool(change(_MMAP_THRESHOLD, _OWN_MAPPING_FROM) and change(_TRIM_THRESHOLD, _KEPT_FREE))
