from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from wsi_vit.datasets.allocation import Unit, allocate
from wsi_vit.datasets.regions import place_regions
from wsi_vit.datasets.splits import (
    CohortSplit,
    FoldSplit,
    PatientSplit,
    RegionSplit,
    Rows,
    SiteSplit,
    assert_disjoint,
    place,
)
from wsi_vit.errors import DatasetError


def rows(
    patients: list[str],
    classes: list[int],
    *,
    sites: list[str] | None = None,
    given: list[str] | None = None,
    usable: list[bool] | None = None,
) -> Rows:
    n = len(patients)
    return Rows(
        slide_ids=np.array(patients),
        patients=np.array(patients),
        sites=np.array(sites or [""] * n),
        given=np.array(given or [""] * n),
        x=np.zeros(n),
        y=np.zeros(n),
        side=np.ones(n),
        counts=np.eye(max(classes) + 1)[classes],
        usable=np.array(usable or [True] * n),
    )


def cohort(patients: int, tiles: int = 4) -> Rows:
    names = [f"p{p:03}" for p in range(patients) for _ in range(tiles)]
    return rows(names, [p % 3 for p in range(patients) for _ in range(tiles)])


def slide(columns: int, lines: int, *, stride: float = 100.0, side: float = 100.0) -> Rows:
    x, y = np.meshgrid(np.arange(columns) * stride, np.arange(lines) * stride)
    n = columns * lines
    base = rows(["p"] * n, [int(i) for i in np.arange(n) % 2])
    return Rows(
        **{
            name: getattr(base, name)
            for name in ("slide_ids", "patients", "sites", "given", "counts", "usable")
        },
        x=x.ravel(),
        y=y.ravel(),
        side=np.full(n, side),
    )


class TestPatients:
    def test_shares_are_kept_and_every_class_is_everywhere(self) -> None:
        table = cohort(30)
        placed = place(table, PatientSplit(validation=0.2, test=0.3))
        found = Counter(placed[::4])
        assert found == {"train": 15, "validation": 6, "test": 9}
        for split, count in (("train", 5), ("validation", 2), ("test", 3)):
            assert table.counts[placed == split].sum(axis=0).tolist() == [4 * count] * 3

    def test_the_seed_decides_and_nothing_else_does(self) -> None:
        table = cohort(20)
        first, again, other = (place(table, PatientSplit(seed=seed)) for seed in (1, 1, 2))
        assert (first == again).all()
        assert (first != other).any()
        shuffled = np.random.default_rng(0).permutation(len(first))
        mixed = Rows(**{name: getattr(table, name)[shuffled] for name in Rows.__slots__})
        assert (place(mixed, PatientSplit(seed=1)) == first[shuffled]).all()

    @pytest.mark.parametrize("patients", [3, 4, 5, 7, 11])
    def test_small_cohorts_have_no_empty_split(self, patients: int) -> None:
        placed = place(cohort(patients), PatientSplit())
        assert set(placed) == {"train", "validation", "test"}
        assert_disjoint(cohort(patients).patients, placed)

    def test_too_few_patients_are_refused_with_a_way_out(self) -> None:
        with pytest.raises(DatasetError, match=r"3 are needed.*Got: 1.*kind: regions"):
            place(cohort(1), PatientSplit())

    def test_a_patient_in_several_classes_stays_whole(self) -> None:
        table = rows(["a", "a", "a", "b", "b", "c", "d", "e"], [0, 1, 2, 0, 1, 2, 0, 1])
        assert_disjoint(table.patients, place(table, PatientSplit()))

    def test_unlabelled_examples_are_in_no_split_and_their_patients_do_not_count(self) -> None:
        table = rows(list("abcd"), [0, 0, 0, 0], usable=[True, True, True, False])
        assert place(table, PatientSplit())[3] == ""

    def test_sites_are_balanced_or_kept_apart_on_request(self) -> None:
        names = [f"p{i:02}" for i in range(24)]
        sites = [f"s{i % 4}" for i in range(24)]
        table = rows(names, [0] * 24, sites=sites)
        even = place(table, PatientSplit(validation=0.25, test=0.25, sites="balance"))
        assert {len(set(table.sites[even == split])) for split in set(even)} == {4}
        apart = place(table, PatientSplit(validation=0.25, test=0.25, sites="separate"))
        assert_disjoint(table.sites, apart)

    def test_a_split_by_sites_needs_one_site_a_patient(self) -> None:
        table = rows(["a", "a", "b", "c"], [0] * 4, sites=["x", "y", "", "x"])
        with pytest.raises(DatasetError, match=r"none: b; several: a"):
            place(table, PatientSplit(sites="balance"))

    def test_a_split_without_training_is_no_split(self) -> None:
        with pytest.raises(ValidationError, match="nothing to learn from"):
            PatientSplit(validation=0.5, test=0.5)


class TestFolds:
    def test_each_patient_is_tested_exactly_once(self) -> None:
        table = cohort(23)
        tested = Counter[str]()
        for fold in range(5):
            placed = place(table, FoldSplit(folds=5, fold=fold))
            assert_disjoint(table.patients, placed)
            assert {"train", "validation", "test"} == set(placed)
            tested.update(str(name) for name in set(table.patients[placed == "test"]))
        assert tested == {f"p{i:03}": 1 for i in range(23)}

    def test_classes_are_as_even_as_scikit_learn_makes_them(self) -> None:
        from sklearn.model_selection import StratifiedGroupKFold

        rng = np.random.default_rng(0)
        sizes = rng.integers(1, 6, 60)
        names = [f"p{i:02}" for i, size in enumerate(sizes) for _ in range(size)]
        classes = [int(c) for c in rng.integers(0, 4, len(names))]
        table = rows(names, classes)

        def spread(tests: list[np.ndarray]) -> float:
            shares = [table.counts[t].sum(axis=0) / table.counts.sum(axis=0) for t in tests]
            return float(np.std(shares))

        ours = [np.flatnonzero(place(table, FoldSplit(fold=fold)) == "test") for fold in range(5)]
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        theirs = [test for _, test in splitter.split(names, classes, names)]
        assert spread(ours) < 1.25 * spread(theirs)

    def test_a_fold_that_is_not_there_and_too_many_folds_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="counted from 0"):
            FoldSplit(folds=3, fold=3)
        with pytest.raises(DatasetError, match="fewer folds"):
            place(cohort(4), FoldSplit(folds=5))


class TestColumn:
    def test_the_column_is_followed(self) -> None:
        given = ["train", "test", "validation"]
        assert place(rows(list("abc"), [0] * 3, given=given), CohortSplit()).tolist() == given

    def test_gaps_in_the_column_are_all_named(self) -> None:
        with pytest.raises(DatasetError, match=r"for b, c.*in 'validation'"):
            place(rows(list("abc"), [0] * 3, given=["train", "", ""]), CohortSplit())

    def test_straddling_patients_are_named(self) -> None:
        with pytest.raises(DatasetError, match=r"1 patients.*Got: a\."):
            assert_disjoint(["a", "a", "b", "b"], ["train", "test", "train", ""])


class TestRegions:
    @pytest.mark.parametrize("layout", ["bands", "blocks"])
    @pytest.mark.parametrize("stride", [100.0, 50.0])
    def test_a_full_tile_lies_between_any_two_parts(self, layout: str, stride: float) -> None:
        table = slide(40, 14, stride=stride)
        section = RegionSplit.model_validate({"layout": layout, "block_tiles": 5})
        placed = place_regions(table, section)
        assert set(placed) == {"train", "validation", "test", ""}
        points = np.column_stack([table.x, table.y])
        for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
            gaps = np.abs(points[placed == one][:, None] - points[placed == other]).max(axis=-1)
            assert gaps.min() - 100.0 >= 100.0 - 1e-6

    def test_bands_lie_across_the_longer_side_and_keep_their_shares(self) -> None:
        table = slide(10, 60)
        placed = place_regions(table, RegionSplit(validation=0.2, test=0.25))
        lines = {split: table.y[placed == split] for split in ("train", "validation", "test")}
        assert all(len(set(placed[table.y == y])) == 1 for y in np.unique(table.y))
        assert np.isclose(len(lines["test"]) / len(placed), 0.25, atol=0.02)
        assert np.isclose(len(lines["validation"]) / len(placed), 0.2, atol=0.03)

    def test_many_patients_are_not_split_by_regions(self) -> None:
        with pytest.raises(DatasetError, match="kind: patients"):
            place_regions(cohort(5), RegionSplit())

    def test_a_slide_too_small_for_a_guard_band_is_refused(self) -> None:
        with pytest.raises(DatasetError, match="after the guard band"):
            place_regions(slide(3, 1), RegionSplit(guard_tiles=2))
        with pytest.raises(DatasetError, match="block_tiles"):
            place_regions(slide(3, 3), RegionSplit(layout="blocks"))


def test_an_allocation_gives_each_part_its_quota() -> None:
    units = [Unit(f"u{i}", (float(i % 2), 1.0)) for i in range(17)]
    parts = allocate(units, {"a": 0.5, "b": 0.3, "c": 0.2}, seed=0)
    assert sorted(Counter(parts.values()).items()) == [("a", 9), ("b", 5), ("c", 3)]
    with pytest.raises(ValueError, match="2 units for 3 parts"):
        allocate(units[:2], {"a": 0.5, "b": 0.3, "c": 0.2}, seed=0)


class TestWholeSites:
    def table(self) -> Rows:
        patients = [f"{site}{p}" for site in "abc" for p in range(6) for _ in range(2)]
        return rows(patients, [0, 1] * 18, sites=[name[0] for name in patients])

    def test_named_sites_judge_and_patients_of_the_others_learn(self) -> None:
        table = self.table()
        placed = place(table, SiteSplit(test=("b",), validation=0.25))
        assert set(table.sites[placed == "test"]) == {"b"}
        assert (placed == "test").sum() == 12
        assert len(set(table.patients[placed == "validation"])) == 3
        assert_disjoint(table.patients.tolist(), placed.tolist())
        again = place(table, SiteSplit(test=("b",), validation=0.25))
        assert np.array_equal(placed, again)
        swapped = place(table, SiteSplit(test=("a", "c"), validation=0.25))
        assert set(table.sites[swapped != "test"]) == {"b"}

    def test_an_unlabelled_example_is_in_no_split(self) -> None:
        table = self.table()
        table.usable[[0, 12]] = False
        placed = place(table, SiteSplit(test=("b",)))
        assert placed[0] == placed[12] == ""

    @pytest.mark.parametrize(
        ("test", "complaint"),
        [
            (("d",), r"not in the data.*Got: d\. Known: a, b, c"),
            (("a", "b", "c"), "nothing is left to learn from"),
        ],
    )
    def test_sites_that_cannot_judge_are_refused(
        self, test: tuple[str, ...], complaint: str
    ) -> None:
        with pytest.raises(DatasetError, match=complaint):
            place(self.table(), SiteSplit(test=test))

    def test_a_patient_without_a_site_or_with_two_is_refused(self) -> None:
        for sites in (["a", "b", ""], ["a", "b", "b"]):
            patients = ["p", "q", "r"] if "" in sites else ["p", "p", "r"]
            with pytest.raises(DatasetError, match="one site for each patient"):
                place(rows(patients, [0, 1, 0], sites=sites), SiteSplit(test=("b",)))

    def test_too_few_patients_elsewhere_are_refused(self) -> None:
        table = rows(["p", "q", "r"], [0, 1, 0], sites=["a", "b", "b"])
        with pytest.raises(DatasetError, match="Too few labelled patients"):
            place(table, SiteSplit(test=("b",)))

    @pytest.mark.parametrize("test", [(), ("a", "a")])
    def test_no_site_or_one_twice_is_refused(self, test: tuple[str, ...]) -> None:
        with pytest.raises(ValidationError, match=r"at least 1|named twice"):
            SiteSplit(test=test)
