"""Split the slides of a single patient by place, with a guard band between the parts.

Neighbouring tiles look alike (and, with overlap, share pixels), so tiles near another part are put
in no split. The result says how a model does elsewhere on the same slide, never on a new patient.
"""

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from wsi_vit.datasets.allocation import Unit, allocate
from wsi_vit.datasets.splits import Placement, RegionSplit, Rows
from wsi_vit.errors import DatasetError

_PRIORITY = ("test", "validation", "train")
"""Who keeps its tiles at a border: the earlier one."""


def place_regions(rows: Rows, section: RegionSplit) -> Placement:
    """Return the split of each tile; empty text for guard tiles and unlabelled ones.

    Raises:
        DatasetError: There are patients enough to split by them, or a part is left empty.
    """
    patients = np.unique(rows.patients[rows.usable])
    if len(patients) > 2:
        raise DatasetError(
            "A split by regions is for a cohort of one patient (or two)",
            got=f"{len(patients)} labelled patients",
            remedy="Use `split: {kind: patients}`, which says how a model does on new patients",
        )
    shares = {
        "train": 1.0 - section.validation - section.test,
        "validation": section.validation,
        "test": section.test,
    }
    shares = {name: share for name, share in shares.items() if share > 0}
    placed = np.full(len(rows.usable), "", dtype="<U10")
    for slide_id in np.unique(rows.slide_ids[rows.usable]):
        here = np.flatnonzero((rows.slide_ids == slide_id) & rows.usable)
        parts = _bands if section.layout == "bands" else _blocks
        placed[here] = _guarded(rows, here, parts(rows, here, shares, section), section)
    _refuse_empty_parts(placed, tuple(shares), section)
    return placed


def _bands(
    rows: Rows, here: NDArray[np.int64], shares: dict[str, float], _section: RegionSplit
) -> Placement:
    """Cut across the longer side, the order of the parts chosen so that classes come out even."""
    along = rows.x[here] if np.ptp(rows.x[here]) >= np.ptp(rows.y[here]) else rows.y[here]
    lines, row_of = np.unique(along, return_inverse=True)
    passed = np.cumsum(np.bincount(row_of, minlength=len(lines))) / len(here)
    best, least = np.full(len(here), "", dtype="<U10"), np.inf
    for order in permutations(shares):
        ends = np.cumsum([shares[name] for name in order])
        # A line of tiles belongs to the part in which most of it lies.
        middle = passed - np.bincount(row_of, minlength=len(lines)) / len(here) / 2
        index = np.minimum(np.searchsorted(ends, middle), len(order) - 1)
        parts = np.array(order, dtype="<U10")[index][row_of]
        unevenness = _unevenness(parts, rows.counts[here], shares)
        if unevenness < least - 1e-12:
            best, least = parts, unevenness
    return best


def _blocks(
    rows: Rows, here: NDArray[np.int64], shares: dict[str, float], section: RegionSplit
) -> Placement:
    """Deal out blocks of tiles, classes alike."""
    width = section.block_tiles * rows.side[here]
    left, top = rows.x[here].min(), rows.y[here].min()
    column = np.floor((rows.x[here] - left) / width + 1e-6).astype(int)
    line = np.floor((rows.y[here] - top) / width + 1e-6).astype(int)
    names = np.array([f"{a}_{b}" for a, b in zip(column, line, strict=True)])
    found, inverse = np.unique(names, return_inverse=True)
    if len(found) < len(shares):
        raise DatasetError(
            "Too few blocks of tiles for the splits",
            got=f"{len(found)} blocks of {section.block_tiles} x {section.block_tiles} tiles",
            remedy="Set a smaller `block_tiles`, or `layout: bands`",
        )
    counts = np.zeros((len(found), rows.counts.shape[1]))
    np.add.at(counts, inverse, rows.counts[here])
    units = [Unit(str(name), tuple(row)) for name, row in zip(found, counts, strict=True)]
    by_block = allocate(units, shares, seed=section.seed)
    return np.array([by_block[str(name)] for name in names], dtype="<U10")


def _guarded(
    rows: Rows, here: NDArray[np.int64], parts: Placement, section: RegionSplit
) -> Placement:
    """Take out each tile that comes closer than the guard band to a part of higher priority."""
    from scipy.spatial import KDTree

    kept = parts.copy()
    points = np.column_stack([rows.x[here], rows.y[here]])
    # Two squares of side s whose corners differ by d (Chebyshev) leave a gap of d - s.
    reach = rows.side[here] * (1 + section.guard_tiles) * (1 - 1e-6)
    for rank, name in enumerate(_PRIORITY[1:], start=1):
        stronger = np.isin(kept, _PRIORITY[:rank])
        mine = np.flatnonzero(kept == name)
        if not stronger.any() or not len(mine):
            continue
        distance, _ = KDTree(points[stronger]).query(points[mine], p=np.inf)
        kept[mine[distance < reach[mine]]] = ""
    return kept


def _unevenness(parts: Placement, counts: NDArray[np.float64], shares: dict[str, float]) -> float:
    totals = counts.sum(axis=0)
    seen = totals > 0
    found = np.array([counts[parts == name].sum(axis=0)[seen] / totals[seen] for name in shares])
    wanted = np.array(list(shares.values()))[:, None]
    return float(((found - wanted) ** 2).mean() + (found == 0).sum())


def _refuse_empty_parts(placed: Placement, parts: tuple[str, ...], section: RegionSplit) -> None:
    empty = [name for name in parts if not (placed == name).any()]
    if empty:
        raise DatasetError(
            f"No tile is left for {' and '.join(empty)} after the guard band",
            got=f"layout {section.layout}, guard {section.guard_tiles} tiles",
            remedy="Use smaller tiles or a finer grid, the other layout, or a narrower guard band",
        )
