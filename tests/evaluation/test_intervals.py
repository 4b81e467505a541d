from time import perf_counter

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from wsi_vit.evaluation.intervals import PatientDraws, bounds, reason_for_none
from wsi_vit.evaluation.ranking import auroc
from wsi_vit.evaluation.tables import count_by
from wsi_vit.metrics import accuracy, macro_f1

RNG = np.random.default_rng(0)
PATIENTS = [f"p{i % 8}" for i in range(240)]
TRUTH = RNG.integers(0, 3, 240)
SCORES = np.round(RNG.dirichlet(np.ones(3), 240) + 0.5 * np.eye(3)[TRUTH], 2)


def drawn_tiles(draws: PatientDraws, resample: int) -> np.ndarray:
    """The tiles of one resample, repeated as often as their patient was drawn."""
    weights = np.concatenate(list(draws._weights()))[resample]
    return np.repeat(np.arange(240), weights[draws.owners(PATIENTS)].astype(int))


def test_each_resample_equals_the_metric_of_the_drawn_patients_tiles() -> None:
    draws = PatientDraws(PATIENTS, resamples=100, seed=1)
    names, counts = count_by(PATIENTS, TRUTH, SCORES.argmax(axis=1), 3)

    f1 = draws.of_counts(counts, names, {"f1": macro_f1})["f1"]
    areas = draws.of_auroc(SCORES, TRUTH, PATIENTS)

    for resample in (0, 41, 99):
        tiles = drawn_tiles(draws, resample)
        truth, said = TRUTH[tiles], SCORES[tiles].argmax(axis=1)
        assert f1[resample] == pytest.approx(f1_score(truth, said, average="macro"))
        assert areas[resample, 1] == pytest.approx(roc_auc_score(truth == 1, SCORES[tiles, 1]))


def test_means_over_slides_leave_out_those_that_cannot_be_said() -> None:
    draws = PatientDraws(["a", "b"], resamples=200, seed=0)

    means = draws.of_means(np.array([1.0, 0.0, np.nan]), ["a", "b", "b"])

    assert set(means) == {0.0, 0.5, 1.0}


def test_the_same_seed_gives_the_same_interval_and_blocks_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, counts = count_by(PATIENTS, TRUTH, SCORES.argmax(axis=1), 3)

    def once(seed: int) -> tuple:
        draws = PatientDraws(PATIENTS, resamples=500, seed=seed)
        samples = draws.of_counts(counts, names, {"a": accuracy})["a"]
        return tuple(float(bound) for bound in bounds(samples))

    first = once(4)
    monkeypatch.setattr("wsi_vit.evaluation.intervals._BLOCK_CELLS", 30)
    assert once(4) == first
    assert once(5) != first


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(7), 0
    for trial in range(100):
        rates = np.clip(rng.normal(0.8, 0.1, 30), 0, 1)
        hits = rng.binomial(20, rates)
        counts = np.zeros((30, 2, 2), np.int64)
        counts[:, 0, 0], counts[:, 0, 1] = hits, 20 - hits
        names = [str(i) for i in range(30)]
        draws = PatientDraws(names, resamples=400, seed=trial)
        low, high = bounds(draws.of_counts(counts, names, {"a": accuracy})["a"])
        covered += bool(low <= 0.798 <= high)

    assert 86 <= covered <= 99


def test_tiles_of_one_patient_do_not_make_the_interval_narrow() -> None:
    right = np.repeat([1, 1, 1, 0, 0, 1, 0, 1], 50)
    patients = np.repeat(list("abcdefgh"), 50).tolist()
    names, counts = count_by(patients, np.zeros(400, int), 1 - right, 2)

    by_patient = PatientDraws(patients, resamples=2000, seed=0)
    low, high = bounds(by_patient.of_counts(counts, names, {"a": accuracy})["a"])

    assert high - low > 0.5


def test_a_class_that_rests_on_one_patient_has_no_interval() -> None:
    draws = PatientDraws(PATIENTS, resamples=500, seed=0)
    one = np.array([p == "p0" for p in PATIENTS]).astype(int)
    two = np.array([p in ("p0", "p1") for p in PATIENTS]).astype(int)
    both = np.stack([1 - SCORES[:, 1], SCORES[:, 1]], axis=1)

    assert np.isnan(bounds(draws.of_auroc(both, one, PATIENTS))[0]).all()
    assert not np.isnan(bounds(draws.of_auroc(both, two, PATIENTS))[0]).any()


def test_regions_of_one_patient_and_single_patients_get_a_reason_instead() -> None:
    reason = "one patient: no estimate on unseen patients"

    def told(patients: list[str], estimate: str) -> str | None:
        return reason_for_none(patients, estimate=estimate, unit="patients")

    assert told(["a", "b"], "regions of one patient") == reason
    assert told(["a", "a"], "unseen patients") == reason
    assert told(["a", "b"], "unseen patients") is None
    assert told(["a", "b"], "unseen sites") is None


def test_the_reason_speaks_of_the_datasets_own_units() -> None:
    reason = reason_for_none(["a"], estimate="unseen photos", unit="photos")

    assert reason == "one photo: no estimate on unseen photos"


def test_ten_thousand_resamples_of_two_thousand_tiles_take_seconds() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{i % 120}" for i in range(2000)]
    truth, scores = rng.integers(0, 9, 2000), rng.dirichlet(np.ones(9), 2000)
    names, counts = count_by(patients, truth, scores.argmax(axis=1), 9)
    draws = PatientDraws(patients, resamples=10_000, seed=0)

    start = perf_counter()
    draws.of_counts(counts, names, {"f1": macro_f1, "accuracy": accuracy})
    middle = perf_counter()
    areas = draws.of_auroc(scores, truth, patients)
    end = perf_counter()

    assert areas.shape == (10_000, 9)
    assert np.median(areas[:, 0]) == pytest.approx(auroc(scores[:, 0], truth == 0), abs=0.02)
    assert middle - start < 8  # about 1 s alone; the machine is shared
    assert end - middle < 15
