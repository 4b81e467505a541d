"""Which patient learns, which one chooses, which one judges: splits that keep patients whole.

A split is made once, when the dataset is built, and frozen into it. Patients are stratified by the
class they hold most of, since a patient may well have several.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from wsi_vit.cohort import SPLITS
from wsi_vit.datasets.allocation import Unit, allocate
from wsi_vit.errors import DatasetError
from wsi_vit.section import Section

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A share of the patients (or tiles)."""

Sites = Literal["ignore", "balance", "separate"]
"""`balance`: each site in every split; `separate`: each site in one split only."""

Placement = NDArray[np.str_]
"""The split of each example, shape (n,); empty text where it is in none."""


class PatientSplit(Section):
    """Three groups of patients, of given shares."""

    kind: Literal["patients"] = "patients"
    validation: float = Field(default=0.15, gt=0.0, lt=1.0)
    test: Share = 0.2
    sites: Sites = "ignore"
    seed: int = 0

    @model_validator(mode="after")
    def _leave_something_to_learn(self) -> Self:
        _leave_train(self.validation, self.test)
        return self


class FoldSplit(Section):
    """Cross-validation: fold `fold` judges, a share of the other patients chooses."""

    kind: Literal["folds"] = "folds"
    folds: int = Field(default=5, ge=2, le=50)
    fold: int = Field(default=0, ge=0)
    """Which fold is the test, counted from 0."""
    validation: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of the patients outside the test fold."""
    sites: Sites = "ignore"
    seed: int = 0

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds} (they are counted from 0)")
        return self


class RegionSplit(Section):
    """Spatial parts of a single patient's slides; no estimate on unseen patients."""

    kind: Literal["regions"] = "regions"
    validation: float = Field(default=0.15, gt=0.0, lt=1.0)
    test: Share = 0.25
    layout: Literal["bands", "blocks"] = "bands"
    """Bands across the longer side of the tissue, or blocks of tiles dealt out evenly."""
    block_tiles: int = Field(default=6, ge=2)
    """Side of a block, in tiles."""
    guard_tiles: float = Field(default=1.0, ge=0.0)
    """Tiles left out between two parts, as a width in tiles."""
    seed: int = 0

    @model_validator(mode="after")
    def _leave_something_to_learn(self) -> Self:
        _leave_train(self.validation, self.test)
        return self


class SiteSplit(Section):
    """Whole sites judge, such as hospitals or video sequences; patients of the others learn."""

    kind: Literal["sites"] = "sites"
    test: tuple[str, ...] = Field(min_length=1)
    """The sites that are the test split."""
    validation: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of the patients of the other sites."""
    seed: int = 0

    @model_validator(mode="after")
    def _each_site_once(self) -> Self:
        if len(set(self.test)) < len(self.test):
            raise ValueError(f"a site is named twice: {', '.join(self.test)}")
        return self


class CohortSplit(Section):
    """The split that the cohort's own column names."""

    kind: Literal["cohort"] = "cohort"


AnySplit = Annotated[
    PatientSplit | FoldSplit | SiteSplit | RegionSplit | CohortSplit, Field(discriminator="kind")
]
"""How a dataset is split."""


def _leave_train(validation: float, test: float) -> None:
    if validation + test >= 1.0:
        raise ValueError("validation and test together leave nothing to learn from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a split may look at, one entry an example; every array has length n."""

    slide_ids: NDArray[np.str_]
    patients: NDArray[np.str_]
    sites: NDArray[np.str_]
    """Empty text where unknown."""
    given: NDArray[np.str_]
    """The cohort's split column; empty text where it says nothing."""
    x: NDArray[np.float64]
    """Left edge in base pixels of the slide."""
    y: NDArray[np.float64]
    side: NDArray[np.float64]
    """Side of the tile in base pixels."""
    counts: NDArray[np.float64]
    """How much of each class the example holds, shape (n, classes)."""
    usable: NDArray[np.bool_]
    """Whether it is labelled; what is not is put in no split."""


def place(rows: Rows, section: PatientSplit | FoldSplit | SiteSplit | CohortSplit) -> Placement:
    """Return the split of each example, patients kept whole.

    Raises:
        DatasetError: The patients are too few, a site is unknown, or the cohort's column does not
            say enough.
    """
    if isinstance(section, CohortSplit):
        return _placed_by_column(rows)
    if isinstance(section, SiteSplit):
        return _placed_by_site(rows, section)
    units = _units(rows, section.sites)
    if isinstance(section, FoldSplit):
        by_unit = _folded(units, section)
    else:
        shares = _shares(section.validation, section.test)
        by_unit = _dealt(units, shares, seed=section.seed)
    names = rows.sites if section.sites == "separate" else rows.patients
    return _spread(by_unit, names, rows.usable)


def assert_disjoint(patients: Iterable[str], splits: Iterable[str]) -> None:
    """Check that no patient is in two splits; examples in no split (empty text) are left out.

    Raises:
        DatasetError: A patient straddles; the first of them are named.
    """
    seen = defaultdict[str, set[str]](set)
    for patient, split in set(zip(patients, splits, strict=True)):
        if split:
            seen[str(patient)].add(str(split))
    straddling = sorted(patient for patient, found in seen.items() if len(found) > 1)
    if straddling:
        raise DatasetError(
            f"{len(straddling)} patients are in more than one split, so scores would be too good",
            got=", ".join(straddling[:5]) + (" …" if straddling[5:] else ""),
            remedy="Build the dataset again; if the split column did this, mend the cohort",
        )


def _shares(validation: float, test: float) -> dict[str, float]:
    shares = {"train": 1.0 - validation - test, "validation": validation, "test": test}
    return {name: share for name, share in shares.items() if share > 0}


def _units(rows: Rows, sites: Sites) -> list[Unit]:
    """Return the patients (or, kept apart, the sites) that have labelled examples."""
    if sites != "ignore":
        _refuse_unclear_sites(rows)
    names = rows.sites if sites == "separate" else rows.patients
    found, inverse = np.unique(names[rows.usable], return_inverse=True)
    counts = np.zeros((len(found), rows.counts.shape[1]))
    np.add.at(counts, inverse, rows.counts[rows.usable])
    pairs = zip(rows.patients[rows.usable], rows.sites[rows.usable], strict=True)
    strata = dict(pairs) if sites == "balance" else {}
    return [
        Unit(str(name), tuple(total), str(strata.get(name, "")))
        for name, total in zip(found, counts, strict=True)
    ]


def _placed_by_site(rows: Rows, section: SiteSplit) -> Placement:
    _refuse_unclear_sites(rows)
    known = sorted({str(site) for site in rows.sites[rows.usable]})
    unknown = [site for site in section.test if site not in known]
    if unknown:
        raise DatasetError(
            "Sites that are to judge are not in the data, or nothing of them is labelled",
            got=", ".join(unknown),
            known=known,
            remedy="Name one of these in `split.test`",
        )
    judging = np.isin(rows.sites, section.test)
    if judging[rows.usable].all():
        raise DatasetError(
            "Every site is to judge, so nothing is left to learn from",
            got=", ".join(section.test),
            known=known,
            remedy="Leave at least one site out of `split.test`",
        )
    learning = replace(rows, usable=rows.usable & ~judging)
    by_patient = _dealt(
        _units(learning, "ignore"), _shares(section.validation, 0.0), seed=section.seed
    )
    return np.where(
        judging & rows.usable, "test", _spread(by_patient, rows.patients, learning.usable)
    )


def _spread(
    by_unit: Mapping[str, str], names: NDArray[np.str_], usable: NDArray[np.bool_]
) -> Placement:
    """Return the split of each usable example from that of its unit."""
    placed = np.array([by_unit.get(str(name), "") for name in names], dtype=np.str_)
    return np.where(usable, placed, "")


def _refuse_unclear_sites(rows: Rows) -> None:
    pairs = set(zip(rows.patients[rows.usable], rows.sites[rows.usable], strict=True))
    nowhere = sorted({str(patient) for patient, site in pairs if not site})
    patients = [str(patient) for patient, _ in pairs]
    twice = sorted({patient for patient in patients if patients.count(patient) > 1})
    if nowhere or twice:
        raise DatasetError(
            "A split by sites needs one site for each patient",
            got=f"none: {', '.join(nowhere[:5]) or '-'}; several: {', '.join(twice[:5]) or '-'}",
            remedy="Fill the cohort's site column, or split without sites",
        )


def _dealt(units: Sequence[Unit], shares: Mapping[str, float], *, seed: int) -> dict[str, str]:
    _refuse_too_few(units, len(shares), f"{len(shares)} splits")
    return allocate(units, shares, seed=seed)


def _folded(units: Sequence[Unit], section: FoldSplit) -> dict[str, str]:
    needed = max(section.folds, 3)
    _refuse_too_few(units, needed, f"{section.folds} folds and a validation split")
    equal = {str(fold): 1 / section.folds for fold in range(section.folds)}
    folds = allocate(units, equal, seed=section.seed)
    rest = [unit for unit in units if folds[unit.name] != str(section.fold)]
    inner = _dealt(rest, _shares(section.validation, 0.0), seed=section.seed)
    return {unit.name: inner.get(unit.name, "test") for unit in units}


def _refuse_too_few(units: Sequence[Unit], needed: int, purpose: str) -> None:
    if len(units) >= needed:
        return
    remedy = (
        "Use `split: {kind: regions}`, which says that it is no estimate on unseen patients"
        if len(units) < 3
        else "Ask for fewer folds, or for a test share of 0"
    )
    raise DatasetError(
        f"Too few labelled patients (or sites) for {purpose}: {needed} are needed",
        got=f"{len(units)} ({', '.join(unit.name for unit in units[:5]) or 'none'})",
        remedy=f"Add patients or labels. {remedy}",
    )


def _placed_by_column(rows: Rows) -> Placement:
    silent = sorted({str(name) for name in rows.slide_ids[rows.usable & (rows.given == "")]})
    lacking = [name for name in SPLITS[:2] if not (rows.usable & (rows.given == name)).any()]
    faults = [f"no split is given for {', '.join(silent[:5])}"] if silent else []
    faults += [f"no labelled example is in {name!r}" for name in lacking]
    if faults:
        raise DatasetError(
            f"The cohort's split column does not say enough: {'; '.join(faults)}",
            known=SPLITS,
            remedy="Fill the column for every slide, or use `split: {kind: patients}`",
        )
    return np.where(rows.usable, rows.given, "")
