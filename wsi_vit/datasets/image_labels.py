"""Which of several labels an image shows: told by a table, or seen in its mask."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsi_vit.errors import LabelError
from wsi_vit.labels import IGNORE_ID, LabelMap, fold, present

Presence = NDArray[np.uint8]
"""1 present, 0 absent, 255 not known; shape (labels,)."""


def told_by_table(told: Mapping[str, int], labels: LabelMap) -> Presence:
    """Return what a table says of an image.

    A label that gathers several columns is present where one of them is, and absent where all are.
    """
    found = np.zeros(len(labels), np.uint8)
    for name, value in told.items():
        place = labels.id_of_source(name)
        if place is not None and found[place] != 1 and value != 0:
            found[place] = value
    return found


def seen_in_mask(
    counts: Mapping[int, int],
    labels: LabelMap,
    *,
    unknown: frozenset[int | str] | None,
    least_share: float,
) -> Presence:
    """Return what a mask shows.

    Args:
        counts: Pixels of each source id.
        labels: With the source's own ids in the place of names.
        unknown: Source ids of which nobody knows what they show; 255 is always one, unless a label
            gathers it. None: all that no label gathers.
        least_share: Of the image's pixels, which a label must cover to be present.
    """
    shares, unseen = np.zeros(len(labels)), 0
    for number, pixels in counts.items():
        place = labels.id_of_source(number)
        if place is not None and number not in (unknown or ()):
            shares[place] += pixels
        elif unknown is None or number in unknown or number == IGNORE_ID:
            unseen += pixels
    total = max(sum(counts.values()), 1)
    return present(shares / total, np.asarray(unseen / total), least_share=least_share)


def refuse_strange_columns(
    columns: Mapping[str, int], labels: LabelMap, *, passed_over: frozenset[int | str]
) -> None:
    """Refuse a table with labels that the label map does not gather.

    Args:
        columns: Its labels.
        labels: Gathers them.
        passed_over: Those that are left out on purpose, as `fold` has them.

    Raises:
        LabelError: Naming them.
    """
    strange = [
        name
        for name in columns
        if labels.id_of_source(name) is None and fold(name) not in passed_over
    ]
    if strange:
        raise LabelError(
            "The source knows labels that the label map does not gather",
            got=", ".join(strange[:12]) + (" …" if strange[12:] else ""),
            known=labels.names,
            remedy="Gather them, list them in `source.ignored`, or say `unknown: ignore`",
        )
