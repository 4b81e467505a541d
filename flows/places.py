"""Where runs go that are trained side by side: a card each, or a share of the cores."""

import os
from collections.abc import Sequence

from wsi_vit.section import Section
from wsi_vit.settings import Settings
from wsi_vit.training.gpu_lock import visible_cards


class Place(Section):
    """Room for one run at a time."""

    card: str | None
    """The GPU that it has for itself; None: it has cores only."""
    threads: int
    workers: int
    """Slides tiled side by side."""

    @property
    def words(self) -> str:
        """Say which place this is."""
        return f"GPU {self.card}" if self.card else f"{self.threads} CPU threads"

    def environment(self) -> dict[str, str]:
        """Return what a process reads that shall keep to this place."""
        shares = {"OMP_NUM_THREADS": str(self.threads), "WSI_VIT_WORKERS": str(self.workers)}
        if self.card is None:
            return shares
        # A process sees its card only, so that is the first one to it.
        return {**shares, "CUDA_VISIBLE_DEVICES": self.card, "WSI_VIT_DEVICE": "cuda"}


def divided(
    runs: int, *, cards: Sequence[str], cores: int, workers: int, most_threads: int | None = None
) -> list[Place]:
    """Divide cards, cores and workers among runs; runs beyond the places wait for one.

    Without cards, at most `workers` runs go side by side, each on a core of its own at least.
    `most_threads` is what a process may have at most, however many cores are its share.
    """
    count = min(runs, len(cards) if cards else min(workers, cores))
    share = max(1, cores // count)
    return [
        Place(
            card=cards[index] if cards else None,
            threads=min(share, most_threads or share),
            workers=max(1, workers // count),
        )
        for index in range(count)
    ]


def places_here(runs: int, settings: Settings) -> list[Place]:
    """Return the places of this computer, as its settings and `OMP_NUM_THREADS` allow."""
    most = os.environ.get("OMP_NUM_THREADS", "")
    return divided(
        runs,
        cards=_allowed(visible_cards(), settings.device),
        cores=_cores(),
        workers=settings.workers,
        most_threads=int(most) if most.isdigit() else None,
    )


def _cores() -> int:
    """Count the cores that this process may use, where the system says so, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _allowed(cards: Sequence[str], device: str | None) -> Sequence[str]:
    """Keep to what `WSI_VIT_DEVICE` says: no card, this very one, or all of them."""
    if device == "cpu":
        return ()
    _, numbered, number = (device or "").partition(":")
    return cards[int(number) : int(number) + 1] if numbered else cards
