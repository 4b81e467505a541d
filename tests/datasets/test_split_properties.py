"""What holds of every split, whatever the cohort: hypothesis looks for one where it does not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wsi_vit.datasets.allocation import Unit, allocate
from wsi_vit.datasets.regions import place_regions
from wsi_vit.datasets.splits import (
    FoldSplit,
    PatientSplit,
    RegionSplit,
    Rows,
    assert_disjoint,
    place,
)
from wsi_vit.errors import DatasetError

PARTS = ("train", "validation", "test")
QUICK = settings(max_examples=12, deadline=None)


@st.composite
def cohorts(draw: st.DrawFn) -> Rows:
    """Patients of one to five examples, each of a class of its own, some unlabelled, two sites."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=3, max_size=18))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    n = len(owner)
    classes = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    labelled = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    # Three patients at least can be learnt from.
    labelled |= owner < 3
    names = np.array([f"p{i:02}" for i in owner])
    return Rows(
        slide_ids=names,
        patients=names,
        sites=np.array([f"site{i % 2}" for i in owner]),
        given=np.full(n, "", dtype="<U10"),
        x=np.zeros(n),
        y=np.zeros(n),
        side=np.ones(n),
        counts=np.eye(3)[classes],
        usable=labelled,
    )


def shuffled(rows: Rows, seed: int) -> tuple[Rows, np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(rows.usable))
    return Rows(**{name: getattr(rows, name)[order] for name in Rows.__slots__}), order


SECTIONS = st.one_of(
    st.builds(
        PatientSplit,
        validation=st.sampled_from([0.1, 0.15, 0.3]),
        test=st.sampled_from([0.0, 0.2, 0.4]),
        sites=st.sampled_from(["ignore", "balance"]),
        seed=st.integers(0, 99),
    ),
    st.builds(FoldSplit, folds=st.just(3), fold=st.integers(0, 2), seed=st.integers(0, 99)),
)


@QUICK
@given(rows=cohorts(), section=SECTIONS)
def test_no_patient_is_in_two_splits_and_what_is_unlabelled_is_in_none(
    rows: Rows, section: PatientSplit | FoldSplit
) -> None:
    placed = place(rows, section)

    assert_disjoint(rows.patients, placed)
    assert ((placed == "") == ~rows.usable).all()
    wanted = set(PARTS)
    if isinstance(section, PatientSplit) and not section.test:
        wanted -= {"test"}
    assert set(placed[rows.usable]) == wanted


@QUICK
@given(rows=cohorts(), section=SECTIONS, order=st.integers(0, 999))
def test_the_order_of_the_cohort_decides_nothing(
    rows: Rows, section: PatientSplit | FoldSplit, order: int
) -> None:
    mixed, positions = shuffled(rows, order)

    assert (place(mixed, section) == place(rows, section)[positions]).all()


@QUICK
@given(rows=cohorts(), section=SECTIONS)
def test_who_has_no_labels_changes_nobodys_split(
    rows: Rows, section: PatientSplit | FoldSplit
) -> None:
    known = Rows(**{name: getattr(rows, name)[rows.usable] for name in Rows.__slots__})

    assert (place(known, section) == place(rows, section)[rows.usable]).all()


def test_a_site_of_unlabelled_slides_does_not_stand_for_the_patient() -> None:
    """The balance of sites went by a patient's last slide, labelled or not."""
    n = 12
    names = np.array([f"p{i:02}" for i in range(n)])
    labelled = Rows(
        slide_ids=names,
        patients=names,
        sites=np.array(["a", "b"] * (n // 2)),
        given=np.full(n, ""),
        x=np.zeros(n),
        y=np.zeros(n),
        side=np.ones(n),
        counts=np.ones((n, 1)),
        usable=np.ones(n, bool),
    )
    doubled = Rows(
        **{name: np.concatenate([getattr(labelled, name)] * 2) for name in Rows.__slots__}
    )
    elsewhere = replace(
        doubled,
        sites=np.concatenate([labelled.sites, np.full(n, "elsewhere")]),
        usable=np.arange(2 * n) < n,
    )
    section = PatientSplit(validation=1 / 3, test=1 / 3, sites="balance")

    placed = place(elsewhere, section)[:n]

    assert (placed == place(labelled, section)).all()
    for part in PARTS:
        assert sorted(labelled.sites[placed == part]) == ["a", "a", "b", "b"]


@QUICK
@given(
    units=st.integers(8, 60),
    shares=st.sampled_from([(0.65, 0.15, 0.2), (0.5, 0.25, 0.25), (0.8, 0.1, 0.1)]),
    seed=st.integers(0, 50),
    data=st.data(),
)
def test_shares_are_met_to_within_one_unit(
    units: int, shares: tuple[float, ...], seed: int, data: Any
) -> None:
    classes = data.draw(st.lists(st.integers(0, 3), min_size=units, max_size=units))
    named = [Unit(f"u{i}", tuple(np.eye(4)[c])) for i, c in enumerate(classes)]

    parts = allocate(named, dict(zip(PARTS, shares, strict=True)), seed=seed)

    assert set(parts) == {unit.name for unit in named}
    for part, share in zip(PARTS, shares, strict=True):
        assert abs(sum(p == part for p in parts.values()) - share * units) <= 1


@QUICK
@given(units=st.integers(9, 40), seed=st.integers(0, 50))
def test_a_class_that_enough_patients_show_is_shown_in_every_split(units: int, seed: int) -> None:
    rare = [Unit(f"u{i}", (1.0, float(i % (units // 3) == 0))) for i in range(units)]
    assume(sum(unit.counts[1] for unit in rare) >= 3)

    parts = allocate(rare, {"train": 0.6, "validation": 0.2, "test": 0.2}, seed=seed)

    shown = {parts[unit.name] for unit in rare if unit.counts[1]}
    assert shown == set(PARTS)


def test_another_seed_puts_others_in_the_test() -> None:
    units = [Unit(f"u{i:02}", (1.0,)) for i in range(30)]
    tests = {
        frozenset(n for n, part in allocate(units, shares, seed=seed).items() if part == "test")
        for shares in [{"train": 0.8, "test": 0.2}]
        for seed in range(12)
    }

    assert len(tests) > 10
    assert all(len(test) == 6 for test in tests)


def test_a_seed_means_this_very_split_on_every_machine() -> None:
    """Frozen: a change here changes every split that was ever made."""
    units = [Unit(f"p{i}", (1.0, float(i % 2))) for i in range(10)]

    parts = allocate(units, {"train": 0.6, "validation": 0.2, "test": 0.2}, seed=7)

    first = [sorted(n for n, part in parts.items() if part == name) for name in PARTS]
    assert first == FROZEN


FROZEN = [["p0", "p1", "p2", "p3", "p4", "p7"], ["p6", "p9"], ["p5", "p8"]]


@st.composite
def tissues(draw: st.DrawFn) -> Rows:
    """The tiles of one slide, holes in the tissue, edges that overlap or not, two classes."""
    columns, lines = draw(st.integers(8, 26)), draw(st.integers(6, 14))
    stride = draw(st.sampled_from([100.0, 75.0, 50.0, 33.3]))
    x, y = np.meshgrid(np.arange(columns) * stride + 17.5, np.arange(lines) * stride + 3.25)
    holes = np.random.default_rng(draw(st.integers(0, 99))).random(x.size)
    kept = np.flatnonzero(holes < draw(st.sampled_from([1.0, 0.8, 0.6])))
    n = len(kept)
    return Rows(
        slide_ids=np.full(n, "s"),
        patients=np.full(n, "p"),
        sites=np.full(n, ""),
        given=np.full(n, ""),
        x=x.ravel()[kept],
        y=y.ravel()[kept],
        side=np.full(n, 100.0),
        counts=np.eye(2)[kept % 2],
        usable=holes[kept] < 0.95,
    )


REGIONS = st.builds(
    RegionSplit,
    layout=st.sampled_from(["bands", "blocks"]),
    guard_tiles=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    block_tiles=st.sampled_from([2, 3, 5]),
    seed=st.integers(0, 20),
)


def gap(rows: Rows, one: np.ndarray, other: np.ndarray) -> float:
    """The width of glass between the nearest tiles of two sets, negative where they overlap."""
    dx = np.abs(rows.x[one][:, None] - rows.x[other])
    dy = np.abs(rows.y[one][:, None] - rows.y[other])
    return float(np.maximum(dx, dy).min() - rows.side[0])


@settings(max_examples=30, deadline=None)
@given(rows=tissues(), section=REGIONS)
def test_no_two_tiles_of_different_parts_are_nearer_than_the_guard(
    rows: Rows, section: RegionSplit
) -> None:
    try:
        placed = place_regions(rows, section)
    except DatasetError as error:
        assert "guard" in str(error) or "blocks" in str(error)
        return
    assert (placed[~rows.usable] == "").all()
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        near = gap(rows, placed == one, placed == other)
        assert near >= section.guard_tiles * rows.side[0] - 1e-3


@QUICK
@given(rows=tissues(), section=REGIONS, order=st.integers(0, 99))
def test_regions_do_not_depend_on_the_order_of_the_tiles(
    rows: Rows, section: RegionSplit, order: int
) -> None:
    mixed, positions = shuffled(rows, order)
    try:
        placed = place_regions(rows, section)
    except DatasetError:
        with pytest.raises(DatasetError):
            place_regions(mixed, section)
        return
    assert (place_regions(mixed, section) == placed[positions]).all()


def test_two_slides_of_one_patient_are_guarded_each_by_itself() -> None:
    x, y = np.meshgrid(np.arange(20) * 100.0, np.arange(5) * 100.0)
    n = x.size
    rows = Rows(
        slide_ids=np.repeat(["a", "b"], n),
        patients=np.full(2 * n, "p"),
        sites=np.full(2 * n, ""),
        given=np.full(2 * n, ""),
        x=np.tile(x.ravel(), 2),
        y=np.tile(y.ravel(), 2),
        side=np.repeat([100.0, 100.0], n),
        counts=np.eye(2)[np.arange(2 * n) % 2],
        usable=np.ones(2 * n, bool),
    )

    placed = place_regions(rows, RegionSplit())

    for slide in ("a", "b"):
        assert set(placed[rows.slide_ids == slide]) == {*PARTS, ""}
    assert (placed == "").sum() == 2 * 2 * 5  # two borders a slide, one line of five tiles each


@pytest.mark.parametrize("seed", range(20))
def test_what_is_learnt_from_shows_even_a_class_of_one_unit(seed: int) -> None:
    often = [Unit(name=f"often {i}", counts=(5.0, 0.0, 0.0)) for i in range(7)]
    rare = [
        Unit(name="second", counts=(5.0, 1.0, 0.0)),
        Unit(name="third", counts=(5.0, 0.0, 1.0)),
        Unit(name="third again", counts=(5.0, 0.0, 1.0)),
    ]

    parts = allocate(often + rare, {"train": 0.7, "validation": 0.15, "test": 0.15}, seed=seed)

    assert parts["second"] == "train"
    assert "train" in {parts["third"], parts["third again"]}
