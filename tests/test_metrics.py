"""Counts and ratios against scikit-learn and tables worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from wsi_vit import metrics
from wsi_vit.labels import IGNORE_ID


def drawn(seed: int, *, size: int = 400, classes: int = 5) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, size).astype(np.uint8)
    noise = rng.integers(0, classes, size).astype(np.uint8)
    return truth, np.where(rng.random(size) < 0.6, truth, noise)


def test_iou_dice_and_accuracy_by_hand() -> None:
    truth = np.array([[0, 0, 1], [1, 1, IGNORE_ID]], np.uint8)
    prediction = np.array([[0, 1, 1], [1, 1, 0]], np.uint8)

    counts = metrics.count_pairs(truth, prediction, 3)

    assert counts.tolist() == [[1, 1, 0], [0, 3, 0], [0, 0, 0]]
    assert metrics.iou_per_class(counts)[:2] == pytest.approx([1 / 2, 3 / 4])
    assert metrics.dice_per_class(counts)[:2] == pytest.approx([2 / 3, 6 / 7])
    assert np.isnan(metrics.iou_per_class(counts)[2])
    assert metrics.accuracy(counts) == pytest.approx(4 / 5)


def test_sensitivity_and_specificity_by_hand() -> None:
    counts = np.array([[8, 2], [1, 9]])

    assert metrics.sensitivity_per_class(counts) == pytest.approx([0.8, 0.9])
    assert metrics.specificity_per_class(counts) == pytest.approx([0.9, 0.8])
    assert metrics.cohen_kappa(counts) == pytest.approx((0.85 - 0.5) / 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_every_ratio_agrees_with_scikit_learn(seed: int) -> None:
    truth, prediction = drawn(seed)
    counts = metrics.count_pairs(truth, prediction, 5)

    assert np.array_equal(counts, sk.confusion_matrix(truth, prediction, labels=range(5)))
    assert metrics.accuracy(counts) == pytest.approx(sk.accuracy_score(truth, prediction))
    assert metrics.balanced_accuracy(counts) == pytest.approx(
        sk.balanced_accuracy_score(truth, prediction)
    )
    assert metrics.macro_f1(counts) == pytest.approx(
        sk.f1_score(truth, prediction, average="macro")
    )
    assert metrics.cohen_kappa(counts) == pytest.approx(sk.cohen_kappa_score(truth, prediction))
    assert metrics.iou_per_class(counts) == pytest.approx(
        sk.jaccard_score(truth, prediction, average=None)
    )
    assert metrics.sensitivity_per_class(counts) == pytest.approx(
        sk.recall_score(truth, prediction, average=None)
    )


def test_a_class_that_is_always_missed_scores_zero_and_an_absent_one_nan() -> None:
    truth, prediction = np.array([[1, 1]], np.uint8), np.array([[0, 0]], np.uint8)

    iou = metrics.iou_per_class(metrics.count_pairs(truth, prediction, 3))

    assert iou[:2].tolist() == [0.0, 0.0]
    assert np.isnan(iou[2])


def test_mean_iou_leaves_the_named_background_out_and_only_that() -> None:
    counts = np.array([[90, 10], [0, 100]])

    assert metrics.mean_iou(counts, None) == pytest.approx((90 / 100 + 100 / 110) / 2)
    assert metrics.mean_iou(counts, 0) == pytest.approx(100 / 110)


def test_nothing_counted_is_nan_and_not_zero() -> None:
    empty = np.zeros((3, 3), np.int64)

    for ratio in (metrics.accuracy, metrics.macro_f1, metrics.cohen_kappa):
        assert np.isnan(ratio(empty))


def test_kappa_of_one_class_alone_cannot_be_said() -> None:
    assert np.isnan(metrics.cohen_kappa(np.array([[7, 0], [0, 0]])))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_counts_of_parts_add_up_to_counts_of_the_whole(seed: int, parts: int) -> None:
    truth, prediction = drawn(seed, size=97)
    truth[::7] = IGNORE_ID

    pieces = zip(np.array_split(truth, parts), np.array_split(prediction, parts), strict=True)

    whole = metrics.count_pairs(truth, prediction, 5)
    assert np.array_equal(whole, sum(metrics.count_pairs(t, p, 5) for t, p in pieces))


def test_a_large_mask_is_counted_across_its_blocks() -> None:
    truth, prediction = drawn(0, size=700 * 700)
    counts = metrics.count_pairs(truth.reshape(700, 700), prediction.reshape(700, 700), 5)

    assert np.array_equal(counts, sk.confusion_matrix(truth, prediction))


def test_ids_outside_the_map_are_refused_unless_the_truth_is_ignored() -> None:
    odd = np.array([5], np.uint8)
    assert metrics.count_pairs(np.array([IGNORE_ID], np.uint8), odd, 3).sum() == 0

    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        metrics.count_pairs(np.array([0], np.uint8), odd, 3)
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        metrics.count_pairs(odd, np.array([0], np.uint8), 3)


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="truth is"):
        metrics.count_pairs(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


def test_ratios_work_on_stacks_of_tables_alike() -> None:
    stack = np.stack([metrics.count_pairs(*drawn(seed), 5) for seed in range(4)])

    for ratio in (metrics.macro_f1, metrics.balanced_accuracy, metrics.iou_per_class):
        assert ratio(stack) == pytest.approx(np.array([ratio(table) for table in stack]))


PAIRS = st.lists(
    st.tuples(st.sampled_from([0, 2, 3]), st.sampled_from([0, 1, 3])), min_size=1, max_size=60
)
"""Truth and prediction over five classes: 1 is never true, 2 never said, 4 neither."""


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_ratios_agree_with_scikit_learn_where_classes_are_absent(
    pairs: list[tuple[int, int]],
) -> None:
    truth, prediction = np.array(pairs, np.uint8).T
    counts = metrics.count_pairs(truth, prediction, 5)
    seen = sorted(set(truth) | set(prediction))
    options = {"labels": seen, "average": None, "zero_division": 0}

    dice, iou = metrics.dice_per_class(counts), metrics.iou_per_class(counts)
    assert dice[seen] == pytest.approx(sk.f1_score(truth, prediction, **options))
    assert iou[seen] == pytest.approx(sk.jaccard_score(truth, prediction, **options))
    assert np.flatnonzero(~np.isnan(dice)).tolist() == seen
    assert metrics.macro_f1(counts) == pytest.approx(
        sk.f1_score(truth, prediction, average="macro", zero_division=0)
    )
    true = sorted(set(truth))
    recall = sk.recall_score(truth, prediction, labels=true, average=None, zero_division=0)
    assert metrics.sensitivity_per_class(counts)[true] == pytest.approx(recall)
    assert metrics.balanced_accuracy(counts) == pytest.approx(recall.mean())


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_sensitivity_of_the_rest_is_the_specificity(pairs: list[tuple[int, int]]) -> None:
    truth, prediction = np.array(pairs, np.uint8).T
    counts = metrics.count_pairs(truth, prediction, 5)

    for k in range(5):
        rest = np.array([truth != k, prediction != k]).astype(np.uint8)
        table = metrics.count_pairs(rest[0], rest[1], 2)
        expected = metrics.sensitivity_per_class(table)[1]
        assert metrics.specificity_per_class(counts)[k] == pytest.approx(expected, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.permutations(range(5)))
def test_no_figure_depends_on_the_order_of_the_classes(
    pairs: list[tuple[int, int]], order: list[int]
) -> None:
    truth, prediction = np.array(pairs, np.uint8).T
    counts = metrics.count_pairs(truth, prediction, 5)
    renamed = counts[np.ix_(order, order)]

    for figure in (metrics.accuracy, metrics.macro_f1, metrics.cohen_kappa):
        assert figure(renamed) == pytest.approx(figure(counts), nan_ok=True)
    assert metrics.iou_per_class(renamed) == pytest.approx(
        metrics.iou_per_class(counts)[order], nan_ok=True
    )


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_dice_follows_from_iou_and_nothing_leaves_its_range(pairs: list[tuple[int, int]]) -> None:
    counts = metrics.count_pairs(*np.array(pairs, np.uint8).T, 5)
    iou, dice = metrics.iou_per_class(counts), metrics.dice_per_class(counts)

    assert dice == pytest.approx(2 * iou / (1 + iou), nan_ok=True)
    known = np.concatenate([iou, dice, [metrics.accuracy(counts)]])
    known = known[~np.isnan(known)]
    assert ((known >= 0) & (known <= 1)).all()


def test_a_slide_of_a_trillion_pixels_is_counted_exactly() -> None:
    counts = np.array([[10**12, 1], [1, 10**12]])

    assert metrics.iou_per_class(counts)[0] == pytest.approx(1 - 2e-12, abs=1e-15)
    assert metrics.cohen_kappa(counts) == pytest.approx(1 - 2e-12, abs=1e-14)


def test_a_background_alone_leaves_no_mean_iou() -> None:
    assert np.isnan(metrics.mean_iou(np.array([[50, 0], [0, 0]]), 0))
    assert metrics.mean_iou(np.array([[50, 1], [0, 0]]), 0) == 0.0


# Rows are truth: 100 px background, 20 px car, 10 px sign; 30 px of background are called car.
STREET = np.array([[70, 30, 0], [5, 15, 0], [4, 0, 6]])


def test_background_as_a_class_lifts_the_means_by_hand() -> None:
    ours, as_class = (
        metrics.mean_over_classes(metrics.iou_per_class(STREET), id) for id in (0, None)
    )

    assert ours == pytest.approx((15 / 50 + 6 / 10) / 2)
    assert as_class == pytest.approx((70 / 109 + 15 / 50 + 6 / 10) / 3)


def test_truth_left_out_makes_false_alarms_on_background_free_by_hand() -> None:
    kept = metrics.leave_out_truth(STREET, 0)

    assert metrics.iou_per_class(kept) == pytest.approx([0, 15 / 20, 6 / 10])
    assert metrics.sensitivity_per_class(kept)[1:] == pytest.approx([15 / 20, 6 / 10])
    assert np.isnan(metrics.sensitivity_per_class(kept)[0])
    assert metrics.mean_iou(kept, None) == pytest.approx((0 + 15 / 20 + 6 / 10) / 3)
    assert metrics.accuracy(kept) == pytest.approx(21 / 30)
    assert STREET[0].sum() == 100


def as_evaluate_publishes(truth: NDArray, said: NDArray, *, classes: int, ignored: int) -> NDArray:
    """Mean IoU, mean accuracy, overall accuracy and IoUs as sets of pixels, without any table."""
    seen = truth != ignored
    right, either, true = (np.zeros(classes) for _ in range(3))
    for k in range(classes):
        in_truth, in_answer = (truth == k) & seen, (said == k) & seen
        right[k] = (in_truth & in_answer).sum()
        either[k] = (in_truth | in_answer).sum()
        true[k] = in_truth.sum()
    with np.errstate(invalid="ignore"):
        iou, share = right / either, right / true
    return np.array([np.nanmean(iou), np.nanmean(share), right.sum() / true.sum(), *iou])


@pytest.mark.parametrize("left_out", [0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_truth_left_out_is_what_evaluates_ignore_index_leaves(seed: int, left_out: int) -> None:
    truth, said = drawn(seed)
    kept = metrics.leave_out_truth(metrics.count_pairs(truth, said, 5), left_out)
    iou = metrics.iou_per_class(kept)

    ours = [
        metrics.mean_over_classes(iou, None),
        metrics.mean_over_classes(metrics.sensitivity_per_class(kept), None),
        metrics.accuracy(kept),
        *iou,
    ]

    assert ours == pytest.approx(as_evaluate_publishes(truth, said, classes=5, ignored=left_out))


def test_a_background_nobody_called_is_no_class_where_its_truth_is_left_out() -> None:
    kept = metrics.leave_out_truth(np.array([[7, 3], [0, 9]]), 0)

    assert np.isnan(metrics.iou_per_class(kept)[0])
    assert metrics.mean_iou(kept, None) == 1
