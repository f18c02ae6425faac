"""Work that can be left behind: it returns, raises, stops when told, and is not waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from api.worker.expendable import LeftBehind, has_left_threads, run_expendable


def run(
    work: Callable[[threading.Event], object],
    is_unwanted: Callable[[], bool] = lambda: False,
    stop: threading.Event | None = None,
    grace_seconds: float = 0.1,
) -> object:
    return run_expendable(
        work,
        is_unwanted,
        stop or threading.Event(),
        grace_seconds=grace_seconds,
        cancel_seconds=0.1,
        look_seconds=0.01,
    )


def test_what_the_work_raises_is_raised() -> None:
    def fail(_: threading.Event) -> None:
        raise ZeroDivisionError("here")

    with pytest.raises(ZeroDivisionError, match="here"):
        run(fail)


def test_what_the_work_returns_is_returned() -> None:
    assert run(lambda _: 7) == 7


@pytest.mark.parametrize("why", ["stop", "unwanted"])
def test_work_that_is_told_to_stop_returns_what_it_has(why: str) -> None:
    stop = threading.Event()
    if why == "stop":
        stop.set()

    result = run(lambda own: own.wait(10), lambda: why == "unwanted", stop, 10)

    assert result is True


@pytest.mark.parametrize("why", ["stop", "unwanted"])
def test_work_that_does_not_stop_is_left_behind(why: str) -> None:
    stop, let_go = threading.Event(), threading.Event()
    if why == "stop":
        stop.set()
    began = time.monotonic()

    with pytest.raises(LeftBehind):
        run(lambda _: let_go.wait(30), lambda: why == "unwanted", stop)

    assert time.monotonic() - began < 10
    assert has_left_threads()
    let_go.set()
    deadline = time.monotonic() + 10
    while has_left_threads():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_interrupt_of_the_waiting_thread_stops_the_work() -> None:
    stopped = threading.Event()

    def work(own: threading.Event) -> None:
        if own.wait(10):
            stopped.set()

    def interrupt() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(work, interrupt, grace_seconds=10)
    assert stopped.is_set()
