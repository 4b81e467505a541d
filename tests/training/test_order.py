import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_vit.training.order import EpochOrder, cut, repeat_factors
from wsi_vit.training.section import Reading


def test_an_epoch_holds_every_image_once_in_an_order_of_its_own() -> None:
    order, other = EpochOrder(np.ones(50), seed=1), EpochOrder(np.ones(50), seed=2)

    first, again, second = (order.of(epoch).tolist() for epoch in (1, 1, 2))

    assert len(order) == 50
    assert sorted(first) == list(range(50))
    assert first == again
    assert first != second != other.of(2).tolist()


def test_streaming_reads_few_stretches_of_the_files_at_a_time_and_mixes_them() -> None:
    order = EpochOrder(np.ones(100_000), seed=1, reading="streaming")

    first, again, second = (order.of(epoch) for epoch in (1, 1, 2))

    assert sorted(first.tolist()) == list(range(100_000))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    windows = [first[start : start + 2048] for start in range(0, 98_304, 2048)]
    slides = [len(np.unique(window // 1_000)) for window in windows]  # of 1,000 tiles each
    assert max(slides) <= 64
    assert np.mean(slides) > 20
    together = np.abs(np.diff(first)) < 64
    assert together.mean() < 0.05


def test_the_last_batch_may_be_short_and_none_is_lost() -> None:
    assert cut(np.arange(5), 2) == [[0, 1], [2, 3], [4]]


@settings(max_examples=60, deadline=None)
@given(
    factors=arrays(np.float64, st.integers(1, 40), elements=st.floats(1.0, 6.0)),
    seed=st.integers(0, 99),
    epoch=st.integers(1, 99),
    reading=st.sampled_from(["random", "streaming"]),
)
def test_an_image_comes_as_often_as_its_factor_rounded_up_or_down(
    factors: np.ndarray, seed: int, epoch: int, reading: Reading
) -> None:
    order = EpochOrder(factors, seed=seed, reading=reading)

    times = np.bincount(order.of(epoch), minlength=len(factors))

    assert times.sum() == len(order) == len(order.of(epoch + 1))
    assert len(order) - 1 <= factors.sum() + 1e-3
    assert (times >= np.floor(factors)).all()
    # One image may take what fills the last place; otherwise none exceeds its factor by one.
    assert (times > np.ceil(factors + 1e-4)).sum() <= 1


def test_over_many_epochs_an_image_comes_as_often_as_its_factor() -> None:
    factors = np.array([1.0, 1.25, 1.5, 2.75, 1.0, 1.0, 3.5])
    order = EpochOrder(factors, seed=0)

    seen = sum(np.bincount(order.of(epoch), minlength=7) for epoch in range(2000)) / 2000

    assert seen == pytest.approx(factors, abs=0.05)


def test_factors_follow_the_equation_of_the_paper() -> None:
    # 8 images of one class each: six of the first, two of the second, none of the third.
    counts = np.zeros((8, 3), np.int64)
    counts[:6, 0], counts[6:, 1] = 1, 1

    factors = repeat_factors(counts)

    # The classes that occur are shown by 0.75 and 0.25 of the images, 0.5 on average.
    assert factors.tolist() == pytest.approx([1.0] * 6 + [np.sqrt(0.5 / 0.25)] * 2)


def test_the_rarest_class_of_a_mask_decides_however_few_its_pixels() -> None:
    counts = np.tile(np.array([900, 90, 0, 0]), (10, 1))
    counts[3] = [900, 90, 1, 0]
    counts[7] = [0, 90, 1, 5]
    counts[9] = 0  # nothing of it is known

    factors = repeat_factors(counts)

    mean = (0.8 + 0.9 + 0.2 + 0.1) / 4
    assert factors[3] == pytest.approx(np.sqrt(mean / 0.2))
    assert factors[7] == pytest.approx(np.sqrt(mean / 0.1))
    assert factors[[0, 9]].tolist() == [1.0, 1.0]


def test_where_all_classes_are_as_common_or_none_is_known_nothing_repeats() -> None:
    assert repeat_factors(np.eye(4, dtype=np.int64)).tolist() == [1.0] * 4
    assert repeat_factors(np.zeros((3, 2), np.int64)).tolist() == [1.0] * 3
