"""Counting in a dataset's own words: patients, photos, runs of five frames.

A dataset's fact `unit` is a plural whose first word ends in s: `patients`, `runs of five frames`.
"""


def one_of(unit: str) -> str:
    """Return the singular: `runs of five frames` gives `run of five frames`."""
    first, space, rest = unit.partition(" ")
    return first.removesuffix("s") + space + rest


def so_many(count: int, unit: str, *, which: str = "") -> str:
    """Return `1 patient`, `12 runs of five frames`; `which` is said of them: `12 unseen runs`."""
    said = f"{which} " if which else ""
    return f"{count:,} {said}{one_of(unit) if count == 1 else unit}"
