"""Put whole units (patients, sites, blocks of tiles) into parts of given shares, classes alike.

Many seeded orders are tried and the one with the most even classes is kept. Orders come from
hashes, not from a library's generator, so a seed means the same split on every machine and with
every version of numpy and scikit-learn.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ATTEMPTS = 100
_EFFORT = 30_000
"""Units times attempts: with very many units any order is even."""

_MOST_TO_SWAP, _PASSES = 1_000, 3


@dataclass(frozen=True, slots=True)
class Unit:
    """What is never divided, and how many examples of each class it holds."""

    name: str
    counts: tuple[float, ...]
    """Examples (or pixels) of each class."""
    stratum: str = ""
    """Units of one stratum are dealt out one after the other, so each part gets its share."""

    @property
    def dominant(self) -> int:
        """The class it holds most of; the first of equals."""
        return int(np.argmax(self.counts))


def allocate(units: Sequence[Unit], shares: Mapping[str, float], *, seed: int) -> dict[str, str]:
    """Return the part of each unit, by name.

    Each part gets its share of the units to within one, and at least one; `shares` sums to 1. A
    part of more than half is the one that is learnt from: it gets the rarest classes first.

    Raises:
        ValueError: There are fewer units than parts.
    """
    parts = list(shares)
    learnt = np.array([share > 0.5 for share in shares.values()])
    if len(units) < len(parts):
        raise ValueError(f"{len(units)} units for {len(parts)} parts")
    quotas = _quotas(len(units), np.array([shares[part] for part in parts]))
    table = np.array([unit.counts for unit in units], dtype=np.float64)
    presence = np.column_stack([table, table.sum(axis=1), np.ones(len(units))])
    best, least = None, np.inf
    for attempt in range(max(4, min(_ATTEMPTS, _EFFORT // len(units)))):
        placed = _dealt(units, quotas, f"{seed}:{attempt}")
        unevenness = _unevenness(placed, presence, quotas, learnt)
        if unevenness < least - 1e-12:
            best, least = placed, unevenness
    assert best is not None
    if len(units) <= _MOST_TO_SWAP:
        best = _swapped(best, presence, quotas, learnt)
    return {unit.name: parts[index] for unit, index in zip(units, best, strict=True)}


def _quotas(units: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return whole numbers that sum to `units`, by largest remainder, none below one."""
    exact = shares * units
    quotas = np.maximum(np.floor(exact + 1e-9).astype(np.int64), 1)
    while quotas.sum() < units:
        quotas[np.argmax(exact - quotas)] += 1
    while quotas.sum() > units:
        quotas[np.argmax(np.where(quotas > 1, quotas - exact, -np.inf))] -= 1
    return quotas


def _dealt(units: Sequence[Unit], quotas: NDArray[np.int64], salt: str) -> NDArray[np.int64]:
    """Deal units out, stratum by stratum, each to the part that lags most behind its quota."""

    def rank(index: int) -> tuple[str, int, bytes]:
        """Order units by stratum and commonest class, and alike ones by a salted chance."""
        unit = units[index]
        return unit.stratum, unit.dominant, hashlib.sha256(f"{salt}:{unit.name}".encode()).digest()

    placed = np.zeros(len(units), np.int64)
    given = np.zeros(len(quotas))
    for turn, index in enumerate(sorted(range(len(units)), key=rank), start=1):
        lag = np.where(given < quotas, quotas * (turn / len(units)) - given, -np.inf)
        # A chance beside the lag: else the first of each stratum always went to the largest part.
        chance = hashlib.sha256(f"{salt}:{turn}".encode()).digest()
        part = int(np.argmax(lag + np.frombuffer(chance, np.uint8)[: len(quotas)] / 512))
        placed[index] = part
        given[part] += 1
    return placed


def _unevenness(
    placed: NDArray[np.int64],
    presence: NDArray[np.float64],
    quotas: NDArray[np.int64],
    learnt: NDArray[np.bool_],
) -> float:
    """Return how far the parts' shares of each class are from their quotas.

    A class that a part lacks although there are units enough to show it everywhere costs one more;
    so does every class that a part which is `learnt` from lacks: what it never shows cannot be
    learnt.
    """
    sums = np.zeros((len(quotas), presence.shape[1]))
    np.add.at(sums, placed, presence)
    totals = presence.sum(axis=0)
    seen = totals > 0
    gaps = np.abs(sums[:, seen] / totals[seen] - (quotas / quotas.sum())[:, None])
    enough = (presence > 0).sum(axis=0)[seen] >= len(quotas)
    lacking = (sums[:, seen] == 0) & (enough | learnt[:, None])
    return float((gaps**2).mean() + lacking.sum())


def _swapped(
    placed: NDArray[np.int64],
    presence: NDArray[np.float64],
    quotas: NDArray[np.int64],
    learnt: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Exchange pairs of units between parts while that makes the classes more even."""
    totals = presence.sum(axis=0)
    shares = presence[:, totals > 0] / totals[totals > 0]
    least = _unevenness(placed, presence, quotas, learnt)
    for unit in list(range(len(placed))) * _PASSES:
        gain = _gains(unit, placed, shares, quotas)
        other = int(np.argmax(gain))
        trial = placed.copy()
        trial[[unit, other]] = placed[[other, unit]]
        unevenness = _unevenness(trial, presence, quotas, learnt)
        if unevenness < least - 1e-9:
            placed, least = trial, unevenness
    return placed


def _gains(
    unit: int, placed: NDArray[np.int64], shares: NDArray[np.float64], quotas: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return how much the squared gaps shrink if `unit` changes places with each other one."""
    gaps = np.zeros((len(quotas), shares.shape[1]))
    np.add.at(gaps, placed, shares)
    gaps -= (quotas / quotas.sum())[:, None]
    change = shares - shares[unit]
    here, there = gaps[placed[unit]], gaps[placed]
    gain = -2 * (change**2).sum(axis=1) - 2 * (change * (here - there)).sum(axis=1)
    # Rounded, so that a last bit that differs between machines decides nothing.
    return np.where(placed == placed[unit], -np.inf, gain.round(9))
