"""Requests that wait share a call, fail alone, and are held up only by requests of their kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from api.http.gathering import MOST_TOGETHER, Gathering


class Work:
    """Answers a number with its double, a negative one with an error. Calls wait for the gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.calls: list[list[int]] = []

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(asked))
        self.begun.set()
        assert self.gate.wait(20)
        return [2 * each if each >= 0 else ValueError(f"{each}") for each in asked]


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.gate.set()


async def ask_behind_one(
    gathering: Gathering[int, int], work: Work, numbers: Sequence[int]
) -> list[asyncio.Task[int]]:
    """Ask 0, and the numbers while its call is at work."""
    tasks = [asyncio.create_task(gathering.ask("kind", 0))]
    assert await asyncio.to_thread(work.begun.wait, 20)
    tasks += [asyncio.create_task(gathering.ask("kind", each)) for each in numbers]
    await asyncio.sleep(0)
    return tasks


def run(
    work: Work, numbers: Sequence[int], before: Callable[[list[asyncio.Task[int]]], object] = len
) -> list[int | BaseException]:
    """What each request gets: of 0, which has a call of its own, and of the numbers."""

    async def ask() -> list[int | BaseException]:
        tasks = await ask_behind_one(Gathering(work), work, numbers)
        before(tasks)
        work.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(ask())


def test_an_error_is_raised_where_it_was_asked_and_nowhere_else(work: Work) -> None:
    first, one, other, last = run(work, [1, -7, 3])
    assert (first, one, last) == (0, 2, 6)
    assert isinstance(other, ValueError)
    assert str(other) == "-7"


def test_a_call_that_raises_fails_its_requests_and_the_next_call_runs() -> None:
    def fail_once(asked: Sequence[int]) -> list[int | Exception]:
        if asked == [0]:
            raise RuntimeError("a defect")
        return [*asked]

    async def ask() -> tuple[object, object]:
        gathering: Gathering[int, int] = Gathering(fail_once)
        (first,) = await asyncio.gather(gathering.ask("kind", 0), return_exceptions=True)
        return first, await gathering.ask("kind", 1)

    first, second = asyncio.run(ask())
    assert isinstance(first, RuntimeError)
    assert second == 1


def test_a_request_that_is_cancelled_leaves_the_others_their_answers(work: Work) -> None:
    _, one, cancelled, last = run(work, [1, 2, 3], lambda tasks: tasks[2].cancel())
    assert (one, last) == (2, 6)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert work.calls == [[0], [1, 3]]  # what it held, such as the product, may be closed


def test_requests_that_are_all_cancelled_make_no_call(work: Work) -> None:
    run(work, [1, 2], lambda tasks: [each.cancel() for each in tasks[1:]])
    assert work.calls == [[0]]


def test_requests_of_a_slow_kind_hold_up_none_of_another(work: Work) -> None:
    def answer(asked: Sequence[str]) -> list[str | Exception]:
        if "slow" in asked:
            work(())
        return [*asked]

    async def ask() -> list[str]:
        gathering: Gathering[str, str] = Gathering(answer)
        slow = asyncio.create_task(gathering.ask("exact", "slow"))
        assert await asyncio.to_thread(work.begun.wait, 20)
        quick = [await gathering.ask("quick", str(number)) for number in range(5)]
        assert not slow.done()
        work.gate.set()
        return [await slow, *quick]

    assert asyncio.run(ask()) == ["slow", "0", "1", "2", "3", "4"]


def test_what_waits_is_one_call_up_to_a_limit(work: Work) -> None:
    numbers = list(range(1, MOST_TOGETHER + 4))
    assert run(work, numbers) == [2 * each for each in (0, *numbers)]
    assert work.calls == [[0], numbers[:MOST_TOGETHER], numbers[MOST_TOGETHER:]]


def test_a_single_request_is_answered_at_once(work: Work) -> None:
    work.gate.set()
    assert asyncio.run(Gathering(work).ask("kind", 21)) == 42
    assert work.calls == [[21]]
