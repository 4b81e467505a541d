"""Which failures pass by themselves."""

import errno
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from wsi_vit.errors import ServiceError, WsiVitError

_PERMANENT = {errno.ENOSPC, errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT}


def is_passing(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether a failed task is worth another try.

    A server that does not answer and a hiccup of a disk pass; a full disk, a missing permission and
    whatever wsi-vit refuses on purpose do not.
    """
    error = state.result(raise_on_failure=False)
    if isinstance(error, ServiceError):
        return True
    if isinstance(error, OSError):
        return error.errno not in _PERMANENT
    return not isinstance(error, WsiVitError | TypeError | ValueError)


AGAIN: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [10, 60],
    "retry_jitter_factor": 0.2,
    "retry_condition_fn": is_passing,
    "cache_policy": NO_CACHE,
}
"""Options of a task that is worth another try. Our store says what is done, not Prefect's cache."""
