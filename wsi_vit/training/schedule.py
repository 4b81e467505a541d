"""The learning rate of a step: a pure function, so that there is no state to save."""

import math


def rate_share(step: int, *, steps: int, warmup_share: float) -> float:
    """Return the share of the highest rate that a step (from 0) of `steps` learns with.

    Linear rise over the warm-up, then half a cosine towards 0 (Loshchilov and Hutter 2017, SGDR,
    eq. 5 without restarts).
    """
    warmup = round(steps * warmup_share)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
