from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from embedder.network.prefetch import prepare_ahead, take_ahead


def weightless(_result: object) -> int:
    return 0


def test_results_come_in_the_order_of_the_items_however_long_each_takes() -> None:
    waits = [random.Random(3).random() / 200 for _ in range(60)]

    def prepare(n: int) -> int:
        time.sleep(waits[n])
        return n

    assert list(
        prepare_ahead(range(60), prepare, weightless, workers=6, ahead=12, max_weight=1)
    ) == list(range(60))


def test_no_more_items_are_taken_than_asked_for() -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for n in range(100):
            taken += 1
            yield n

    for handed_on, _ in enumerate(
        prepare_ahead(source(), lambda n: n, weightless, workers=3, ahead=5, max_weight=1), start=1
    ):
        assert taken - handed_on <= 5


def test_waiting_results_are_bounded_by_weight() -> None:
    """Each result weighs 10 and 25 are allowed: three may wait, and one more for each worker that
    had begun.
    """
    held = most = 0
    lock = threading.Lock()

    def prepare(n: int) -> int:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return n

    results = prepare_ahead(range(40), prepare, lambda _: 10, workers=2, ahead=30, max_weight=25)
    for expected in range(40):
        time.sleep(0.002)  # a slow consumer
        assert next(results) == expected
        with lock:
            held -= 1
    assert most <= 3 + 2


def test_a_single_result_heavier_than_the_bound_still_passes() -> None:
    assert list(
        prepare_ahead(range(8), lambda n: n, lambda _: 1000, workers=4, ahead=8, max_weight=1)
    ) == list(range(8))


def test_an_exception_of_the_source_comes_after_what_came_before_it() -> None:
    def source() -> Iterator[int]:
        yield from range(7)
        raise OSError("the disk is gone")

    results = prepare_ahead(source(), lambda n: n, weightless, workers=2, ahead=4, max_weight=1)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_an_exception_of_the_work_comes_in_its_turn() -> None:
    def prepare(n: int) -> int:
        return 1 // (3 - n)

    results = prepare_ahead(range(9), prepare, weightless, workers=2, ahead=4, max_weight=1)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_ends_the_threads_and_drops_what_had_not_begun() -> None:
    before = set(threading.enumerate())
    begun: list[int] = []
    release = threading.Event()

    def prepare(n: int) -> int:
        begun.append(n)
        if n:
            release.wait(5)
        return n

    results = prepare_ahead(range(1000), prepare, weightless, workers=2, ahead=50, max_weight=1)
    assert next(results) == 0
    threading.Timer(0.05, release.set).start()
    results.close()
    assert len(begun) < 10
    assert not {
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("prepare")
    }


def test_no_items_are_no_results_and_no_threads_stay() -> None:
    nothing: list[int] = []
    assert (
        list(prepare_ahead(nothing, lambda n: n, weightless, workers=2, ahead=2, max_weight=1))
        == []
    )
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepare")]


def test_what_lies_behind_is_handed_on_before_the_exception_of_the_source() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    for count in range(5):
        items = take_ahead(source(), count)
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="the disk is gone"):
            next(items)


def test_an_item_is_handed_on_once_so_many_more_were_taken() -> None:
    for count in range(5):
        taken: list[int] = []
        seen = [
            len(taken) for _ in take_ahead(map(lambda n, t=taken: t.append(n), range(6)), count)
        ]  # type: ignore[misc]
        assert seen == [min(6, n + 1 + count) for n in range(6)]


def test_nothing_is_behind_nothing() -> None:
    assert list(take_ahead(iter(()), 2)) == []
