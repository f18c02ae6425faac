"""The server's worker goes on after a defect, and ends when it is closed."""

from __future__ import annotations

import logging
import threading

import pytest

from api.worker.background import BackgroundWorker


def test_a_defect_in_one_job_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    turns, twice = 0, threading.Event()

    def work(stop: threading.Event) -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise ZeroDivisionError("a defect")
        twice.set()
        stop.wait(10)

    with caplog.at_level(logging.ERROR):
        worker = BackgroundWorker(work, restart_seconds=0.001)
        assert twice.wait(10)
        worker.close()

    assert "a defect" in caplog.text
    assert turns == 2


def test_closing_waits_for_what_is_in_work() -> None:
    begun, finished = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        stop.wait(10)
        finished.set()

    worker = BackgroundWorker(work)
    assert begun.wait(10)
    worker.close()

    assert finished.is_set()


def test_work_that_is_asked_to_stop_ends_while_nobody_waits_for_it() -> None:
    begun, finished = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        stop.wait(10)
        finished.set()

    worker = BackgroundWorker(work)
    assert begun.wait(10)
    worker.ask_to_stop()

    assert finished.wait(5)
    worker.close()
