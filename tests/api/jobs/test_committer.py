"""Transactions run one after another; after an error none runs any more."""

from __future__ import annotations

import threading

import pytest

from api.jobs.committer import WAITING, Committer


def fail() -> None:
    raise OSError("the disk is full")


def test_transactions_run_in_their_order_in_one_other_thread() -> None:
    ran, threads = list[int](), set[int]()
    committer = Committer()

    for number in range(20):
        committer.submit(
            lambda number=number: (ran.append(number), threads.add(threading.get_ident()))
        )
    committer.flush()

    assert ran == [*range(20)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    committer.close()


def test_close_runs_what_is_queued() -> None:
    ran, going = list[int](), threading.Event()
    committer = Committer()
    committer.submit(lambda: (going.wait(10), ran.append(1)))
    committer.submit(lambda: ran.append(2))
    going.set()

    committer.close()

    assert ran == [1, 2]


@pytest.mark.parametrize("ask", ["submit", "flush", "close"])
def test_an_error_is_raised_by_the_next_call_and_nothing_runs_after_it(ask: str) -> None:
    ran, going = list[int](), threading.Event()
    committer = Committer()
    committer.submit(lambda: (going.wait(10), fail()))
    committer.submit(lambda: ran.append(1))
    going.set()

    def submit_many() -> None:
        for _ in range(WAITING + 2):  # the error is known before the last
            committer.submit(lambda: ran.append(2))

    calls = {"submit": submit_many, "flush": committer.flush, "close": committer.close}
    with pytest.raises(OSError, match="the disk is full"):
        calls[ask]()

    if ask != "close":
        committer.submit(lambda: ran.append(3))  # the error is raised once, and still nothing runs
        committer.close()
    assert ran == []


def test_submitting_waits_while_others_wait_already() -> None:
    going, submitted = threading.Event(), threading.Event()
    committer = Committer()
    for _ in range(WAITING + 1):  # one runs, the others wait
        committer.submit(lambda: going.wait(10))

    def one_more() -> None:
        committer.submit(lambda: None)
        submitted.set()

    thread = threading.Thread(target=one_more)
    thread.start()
    assert not submitted.wait(0.05)
    going.set()
    assert submitted.wait(10)
    thread.join()
    committer.close()
