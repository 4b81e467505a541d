"""Threads work ahead, in bounds, and what they make comes in order."""

import threading
import time
from collections.abc import Iterator

import pytest

from wsi_vit.ahead import done_ahead


def slow_if_even(number: int) -> int:
    time.sleep(0.02 * (number % 2 == 0))
    return number * number


def test_results_come_in_order_however_long_each_takes() -> None:
    found = done_ahead(slow_if_even, range(9), threads=3, ahead=4)

    assert list(found) == [number * number for number in range(9)]
    assert list(done_ahead(slow_if_even, [], threads=2, ahead=1)) == []


def test_no_more_is_begun_than_is_allowed_ahead() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            yield number

    found = done_ahead(slow_if_even, items(), threads=2, ahead=3)

    assert next(found) == 0
    assert begun == [0, 1, 2, 3]
    found.close()


def test_who_stops_taking_waits_for_the_threads_and_nothing_more_begins() -> None:
    release, running, worked = threading.Event(), threading.Event(), list[int]()

    def work(number: int) -> int:
        if number:
            running.set()
            release.wait(timeout=30)
        worked.append(number)
        return number

    found = done_ahead(work, range(50), threads=1, ahead=5)
    assert next(found) == 0
    assert running.wait(timeout=30)
    threading.Timer(0.05, release.set).start()
    found.close()

    assert worked == [0, 1]


def test_an_error_comes_in_its_items_turn() -> None:
    found = done_ahead(lambda number: 6 // number, [3, 2, 0, 1], threads=2, ahead=3)

    assert [next(found), next(found)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(found)
